package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestAHostileServerIsHeldAtBay is fault H5.
func TestAHostileServerIsHeldAtBay(t *testing.T) {
	const timeout = 300 * time.Millisecond
	until := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) } // holds on until the probe hangs up
	hello := func(c net.Conn) { _, _ = c.Read(make([]byte, 4<<10)) }
	var sent atomic.Int64
	flood := func(c net.Conn, block string, total int64) {
		for n := int64(0); n < total; {
			w, err := io.WriteString(c, block)
			n += int64(w)
			sent.Add(int64(w))
			if err != nil {
				return
			}
		}
	}
	block := strings.Repeat("x", 64<<10)
	for _, tt := range []struct {
		name    string
		handle  func(net.Conn)
		scheme  string
		want    Outcome
		message string
		quick   bool // ends long before the timeout
	}{
		{"that never answers", until, "http", Failure, `Get "URL": context deadline exceeded`, false},
		{"that never shakes hands", until, "https", Failure, `Get "URL": context deadline exceeded`, false},
		{"that answers byte by byte", func(c net.Conn) {
			hello(c)
			for range 100 {
				if _, err := io.WriteString(c, "H"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, "http", Failure, `Get "URL": context deadline exceeded`, false},
		{"that drips its body", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			for range 100 {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, "http", Failure, `Get "URL": reading the body: context deadline exceeded`, false},
		{"that drips the body of a failure", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n")
			until(c)
		}, "http", Failure, `HTTP probe failed with statuscode: 503`, false},
		{"with a body of 1 GB", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
			flood(c, block, 1<<30)
		}, "http", Success, "", true},
		{"with an endless chunked body of single bytes", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			flood(c, strings.Repeat("1\r\nx\r\n", 1000), 1<<30)
		}, "http", Success, "", true},
		{"with a header that does not end", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
			flood(c, block, 1<<30)
		}, "http", Failure, `Get "URL": header of the answer is larger than 262144 bytes`, true},
		{"with endless headers", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			flood(c, strings.Repeat("A: b\r\n", 10000), 1<<30)
		}, "http", Failure, `Get "URL": header of the answer is larger than 262144 bytes`, true},
		{"with endless informational answers", func(c net.Conn) {
			hello(c)
			flood(c, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000), 1<<30)
		}, "http", Failure, `Get "URL": too many 1xx informational responses`, true},
		{"that hangs up", hello, "http", Failure, `Get "URL": EOF`, true},
		{"that speaks something else", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n")
		}, "http", Failure, `Get "URL": malformed HTTP response "SSH-2.0-OpenSSH"`, true},
		{"that does not speak TLS", func(c net.Conn) {
			hello(c)
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, "https", Failure, `Get "URL": http: server gave HTTP response to HTTPS client`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent.Store(0)
			host, port := serve(t, tt.handle)
			got, took := within(t, timeout, HTTP(HTTPTarget{Scheme: tt.scheme, Host: host, Port: port, Path: "/p"}))
			want := strings.ReplaceAll(tt.message, "URL", fmt.Sprintf("%s://%s:%d/p", tt.scheme, host, port))
			if got != (Result{tt.want, want}) {
				t.Errorf("got  %+v\nwant %+v", got, Result{tt.want, want})
			}
			if took > timeout+2*time.Second || tt.quick && took >= timeout {
				t.Errorf("took %s of %s", took, timeout)
			}
			if n := sent.Load(); n > 32<<20 { // what the sockets of both ends buffer, with room
				t.Errorf("read along for %d bytes", n)
			}
		})
	}
}

func TestACancelledProbeEndsAtOnce(t *testing.T) {
	host, port := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for name, try := range map[string]Try{
		"http":  HTTP(HTTPTarget{Host: host, Port: port}),
		"https": HTTP(HTTPTarget{Scheme: "HTTPS", Host: host, Port: port}),
		"grpc":  GRPC(GRPCTarget{Host: host, Port: port}),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		time.AfterFunc(50*time.Millisecond, cancel)
		begun := time.Now()
		if r := try(ctx); r.Outcome == Success {
			t.Errorf("%s: %+v", name, r)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestMessagesAreBoundedAndPrintable(t *testing.T) {
	big := bytes.Repeat([]byte("ä"), 1<<20)
	got, _ := within(t, time.Second, Command(func(context.Context, []string) (int, []byte, error) { return 1, big, nil }, nil))
	if len(got.Message) > maxMessage || len(got.Message) < maxMessage-4 || strings.ContainsRune(got.Message, '\uFFFD') {
		t.Errorf("message of %d bytes", len(got.Message))
	}
	if got := result(Failure, "a\xffb"); got.Message != "a\uFFFDb" {
		t.Errorf("message %q", got.Message)
	}
}

func TestACommandIsJudgedAsTheKubelet(t *testing.T) {
	for _, tt := range []struct {
		name string
		exec Exec
		want Result
	}{
		{"exit code 0 is a success", func(context.Context, []string) (int, []byte, error) { return 0, []byte("fine"), nil }, Result{Success, ""}},
		{"another exit code is a failure that tells the output", func(context.Context, []string) (int, []byte, error) {
			return 7, []byte("no such file\n"), nil
		}, Result{Failure, "no such file\n"}},
		{"a command that takes too long is a failure", func(ctx context.Context, _ []string) (int, []byte, error) {
			<-ctx.Done()
			return 0, nil, fmt.Errorf("waiting for the process: %w", ctx.Err())
		}, Result{Failure, `command timed out: "sleep 10" timed out after 100ms`}},
		{"an engine that is away says nothing of the container", func(context.Context, []string) (int, []byte, error) {
			return 0, nil, errors.New("dialling containerd: connection refused")
		}, Result{Unknown, "dialling containerd: connection refused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := within(t, 100*time.Millisecond, Command(tt.exec, []string{"sleep", "10"})); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestATryMakesACheckOfTheAgent(t *testing.T) {
	for o, fine := range map[Outcome]bool{Success: true, Warning: true, Failure: false, Unknown: false} {
		err := Try(func(context.Context) Result { return Result{o, "why"} }).Check()(t.Context())
		if fine != (err == nil) || err != nil && err.Error() != "why" {
			t.Errorf("%s: %v", o, err)
		}
	}
}

func TestMemoryOfAFloodStaysSmall(t *testing.T) {
	host, port := serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4<<10))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		_, _ = io.CopyN(c, zeros{}, 1<<30)
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		if r, _ := within(t, 5*time.Second, HTTP(HTTPTarget{Host: host, Port: port})); r.Outcome != Success {
			t.Fatal(r)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / 20; each > 128<<10 { // with the server's 32 KiB
		t.Errorf("%d bytes allocated per probe", each)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
