package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Times of streams. Idle is the kubelet's streamingConnectionIdleTimeout.
const (
	streamIdle     = 4 * time.Hour
	streamCreation = 15 * time.Second // until a SPDY client has opened the streams it asked for
	hangupEvery    = time.Second
)

// errHangup is the cause of a stream's end when its client has gone.
var errHangup = errors.New("the client has gone")

// upgrade is the ResponseWriter of a handler that takes its connection over. Its context ends when the client has gone
// and when the agent ends; then, and at close, the connection is closed, and whoever read from it wakes.
//
// It has no Unwrap on purpose: the libraries would take the connection from below it.
type upgrade struct {
	http.ResponseWriter
	ctx    context.Context //nolint:containedctx // that of the one request it serves
	cancel context.CancelCauseFunc
	side   sync.WaitGroup // what watches the connection
	done   func()
}

// newUpgrade returns the writer, and the request, to hand on. The handler must call close.
func newUpgrade(w http.ResponseWriter, r *http.Request) (*upgrade, *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	u := &upgrade{ResponseWriter: w, ctx: ctx, cancel: cancel, done: func() {}}
	if join, ok := ctx.Value(joinKey{}).(*sync.WaitGroup); ok {
		join.Add(1)
		u.done = join.Done
	}
	return u, r.WithContext(ctx)
}

// close ends the connection and what watches it.
func (u *upgrade) close() {
	u.cancel(nil)
	u.side.Wait()
	u.done()
}

// Hijack implements http.Hijacker.
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("taking the connection over: %w", err)
	}
	// What net/http has read ahead belongs to the stream.
	ahead, _ := rw.Peek(rw.Reader.Buffered())
	w := &watched{Conn: conn, gone: func() { u.cancel(errHangup) }, ahead: bytes.NewReader(bytes.Clone(ahead))}
	u.side.Go(func() { w.watch(u.ctx) })
	return w, bufio.NewReadWriter(bufio.NewReader(w), bufio.NewWriter(w)), nil
}

// watched is a connection that tells when its peer has gone.
type watched struct {
	net.Conn
	gone  func()
	ahead io.Reader // read first

	closing sync.Once
}

func (w *watched) Read(b []byte) (int, error) {
	if n, err := w.ahead.Read(b); n > 0 || err == nil {
		return n, nil
	}
	n, err := w.Conn.Read(b)
	if err != nil {
		w.gone()
	}
	return n, err
}

// Close may be called again: the library waits a second to tell somebody of a second close that fails.
func (w *watched) Close() (err error) {
	w.closing.Do(func() { err = w.Conn.Close() })
	return err
}

// watch closes the connection when ctx ends. Until then it looks whether the peer has closed its end: a command that does
// not take its input keeps everybody from reading that.
func (w *watched) watch(ctx context.Context) {
	defer func() {
		// A TLS connection would first say goodbye to a peer that may not listen.
		_ = w.SetDeadline(time.Now().Add(time.Second))
		_ = w.Close()
	}()
	var raw syscall.RawConn
	if c, ok := rawConn(w.Conn).(syscall.Conn); ok {
		raw, _ = c.SyscallConn()
	}
	tick := time.NewTicker(hangupEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if raw != nil && hungUp(raw) {
			w.gone()
		}
	}
}

func hungUp(raw syscall.RawConn) bool {
	gone := false
	err := raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}} //nolint:gosec // a descriptor fits
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0
	})
	return err != nil || gone
}

// sameOrigin refuses a page of another site that opens a WebSocket with its visitor's certificate; programs send no Origin.
// What comes through a proxy, such as the API server, is for that proxy to judge: it shows its own certificate, hands the
// Origin of its caller on, and adds a header that no page can add to a WebSocket.
func sameOrigin(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" || r.Header.Get("X-Forwarded-For") != "" {
		return nil
	}
	if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
		return forbidden("cross-origin request")
	}
	return nil
}
