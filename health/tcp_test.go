package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestATCPProbeSucceedsWhenItCanConnect(t *testing.T) {
	host, port := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	if r, _ := within(t, time.Second, TCP(TCPTarget{Host: host, Port: port})); r != (Result{Success, ""}) {
		t.Errorf("%+v", r)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, closed := hostPort(t, l.Addr().String())
	_ = l.Close()
	want := Result{Failure, fmt.Sprintf("dial tcp 127.0.0.1:%d: connect: connection refused", closed)}
	if r, _ := within(t, time.Second, TCP(TCPTarget{Host: "127.0.0.1", Port: closed})); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
}

func TestProbesGoThroughTheDialerTheyAreGiven(t *testing.T) {
	host, port := serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4<<10))
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	var asked []string
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		asked = append(asked, address)
		return Dial(nil).orHost()(ctx, network, fmt.Sprintf("%s:%d", host, port))
	}
	for _, try := range []Try{
		TCP(TCPTarget{Host: "10.88.0.7", Port: 80, Dial: dial}),
		HTTP(HTTPTarget{Host: "fd00::7", Port: 81, Dial: dial}),
	} {
		if r, _ := within(t, time.Second, try); r.Outcome != Success {
			t.Errorf("%+v", r)
		}
	}
	if got := strings.Join(asked, " "); got != "10.88.0.7:80 [fd00::7]:81" {
		t.Errorf("dialled %s", got)
	}
}

// The server takes its time to close, as those do that have more to do; one that closes within microseconds may still
// leave us the TIME_WAIT.
func TestClosingLeavesNoTimeWaitAndTheServerReadsACleanEnd(t *testing.T) {
	var clean, torn atomic.Int32
	host, port := serve(t, func(c net.Conn) {
		time.Sleep(5 * time.Millisecond)
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			clean.Add(1)
		} else {
			torn.Add(1)
		}
	})
	try := TCP(TCPTarget{Host: host, Port: port})
	for range 50 {
		if r, _ := within(t, time.Second, try); r.Outcome != Success {
			t.Fatal(r)
		}
	}
	for i := 0; clean.Load()+torn.Load() < 50 && i < 500; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	if clean.Load() != 50 {
		t.Errorf("%d clean ends, %d torn", clean.Load(), torn.Load())
	}
	if n := timeWaits(t, port); n > 5 {
		t.Errorf("%d of 50 sockets in TIME_WAIT", n)
	}
}

func TestAnHTTPProbeLeavesTheTimeWaitToTheServer(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	target := at(t, s, "/")
	try := HTTP(target)
	for range 50 {
		if r, _ := within(t, time.Second, try); !strings.Contains(r.Message, "404") {
			t.Fatal(r)
		}
	}
	if n := timeWaits(t, target.Port); n > 5 {
		t.Errorf("%d of 50 sockets in TIME_WAIT", n)
	}
}

func TestAServerThatClosesSoonAfterItsAnswerIsNotReset(t *testing.T) {
	torn := make(chan error, 1)
	host, port := serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4<<10))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		time.Sleep(2 * time.Millisecond)
		torn <- c.(*net.TCPConn).CloseWrite() // fails on a connection that was aborted
	})
	for range 5 { // the server may be late once, but not always
		if r, _ := within(t, time.Second, HTTP(HTTPTarget{Host: host, Port: port})); r.Outcome != Success {
			t.Fatal(r)
		}
		if err := <-torn; err == nil {
			return
		}
	}
	t.Error("the server was reset each time")
}

// timeWaits counts sockets in TIME_WAIT towards a port of this host.
func timeWaits(t *testing.T, port int) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[3] == "06" && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) {
			n++
		}
	}
	return n
}
