package health

import (
	"context"
	"net"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzHTTPResponse answers a probe with any bytes: it ends, in bounds, and with an outcome.
func FuzzHTTPResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nTrailer: x\r\n\r\n",
		"HTTP/1.0 301 Moved\r\nLocation: /again\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://other/\r\nContent-Length: 1\r\n\r\n\xff",
		"HTTP/1.1 302 Found\r\nLocation: :::\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: -1\r\n\r\n",
		"HTTP/2.0 200\r\n\r\n", "SSH-2.0-x\r\n", "", "\x16\x03\x01",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				_ = theirs.SetDeadline(time.Now().Add(time.Second))
				_, _ = theirs.Read(make([]byte, 4<<10))
				_, _ = theirs.Write(answer)
				_ = theirs.Close()
			}()
			return ours, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r := HTTP(HTTPTarget{Host: "10.0.0.1", Port: 80, Path: "/", Dial: dial})(ctx)
		if ctx.Err() != nil {
			t.Fatal("does not end")
		}
		if len(r.Message) > maxMessage+64 || !utf8.ValidString(r.Message) || r.Outcome == "" || r.Outcome == Unknown {
			t.Errorf("%s, message of %d bytes", r.Outcome, len(r.Message))
		}
	})
}

// FuzzHealthStatus reads any bytes as the answer of a gRPC health service.
func FuzzHealthStatus(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 4, 18, 2, 65, 66})
	f.Add([]byte{1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, body []byte) {
		status, err := healthStatus(body)
		if err != nil && status != 0 {
			t.Errorf("status %d with %v", status, err)
		}
	})
}
