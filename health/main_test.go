package health

import (
	"context"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// serveEnv turns this test binary into the servers of TestTheCostOf200Probes, so that their CPU is not ours.
const serveEnv = "HEALTH_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		serveForOthers()
		return
	}
	goleak.VerifyTestMain(m)
}

// within runs a try with a timeout and says how long it took.
func within(t testing.TB, timeout time.Duration, try Try) (Result, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	begun := time.Now()
	r := try(ctx)
	return r, time.Since(begun)
}

// hostPort splits a listener's address or a server's URL.
func hostPort(t testing.TB, address string) (string, int) {
	t.Helper()
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return host, n
}

// at is the HTTPTarget of a test server.
func at(t testing.TB, s *httptest.Server, path string) HTTPTarget {
	t.Helper()
	host, port := hostPort(t, s.URL)
	scheme, _, _ := strings.Cut(s.URL, ":")
	return HTTPTarget{Scheme: scheme, Host: host, Port: port, Path: path}
}

// serve listens and hands each connection to handle, until the test ends; it joins what it started.
func serve(t testing.TB, handle func(net.Conn)) (host string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	conns := make(chan struct{}, 1000)
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				for range n {
					<-conns
				}
				return
			}
			go func() {
				handle(c)
				_ = c.Close()
				conns <- struct{}{}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return hostPort(t, l.Addr().String())
}
