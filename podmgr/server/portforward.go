package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/gorilla/websocket"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// portForward is the kubelet's /portForward: SPDY, SPDY inside a WebSocket (kubectl), or WebSocket with ?port=.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	if err := s.reachable(r); err != nil {
		writeError(w, err)
		return
	}
	e, err := s.pod(r)
	var o *portforward.V4Options
	tunnelled := wsstream.IsWebSocketRequestWithTunnelingProtocol(r)
	if err == nil {
		err = isUpgrade(r)
	}
	if err == nil && !tunnelled {
		if o, err = portforward.NewV4Options(r); err != nil {
			err = badRequest(err.Error())
		}
	}
	var release func()
	if err == nil {
		release, err = s.forwards.take(e.Key)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	defer release()
	began := time.Now()
	u, r := newUpgrade(w, r)
	f := &forwarder{ctx: r.Context(), to: s.Containers, pod: e.Pod}
	defer f.close() // after the connection is closed
	defer u.close()
	var out http.ResponseWriter = u
	if tunnelled {
		if out, r = openTunnel(u, r); out == nil {
			return
		}
	}
	portforward.ServePortForward(out, r, f, e.Key.Name, string(e.Pod.UID()), o, streamIdle, streamCreation, portforward.SupportedProtocols)
	s.audit(r, e.Key, "").Dur("took", time.Since(began)).Msg("port forward")
}

// forwarder serves the streams of one connection; they end with it, which the library does not see to.
type forwarder struct {
	ctx context.Context //nolint:containedctx // that of the one request it serves
	to  Containers
	pod *manifests.Pod

	mu      sync.Mutex // held while streams is added to: none begins once closed is set
	closed  bool       // guarded by mu
	streams sync.WaitGroup
}

// close waits for the streams there are. The library may begin one after the handler's end.
func (f *forwarder) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.streams.Wait()
}

// PortForward implements portforward.PortForwarder.
func (f *forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return errHangup
	}
	f.streams.Add(1)
	f.mu.Unlock()
	defer f.streams.Done()
	return f.to.PortForward(f.ctx, f.pod, port, stream)
}

// openTunnel upgrades a request to a WebSocket that carries a SPDY connection, and returns what makes the library serve
// that one. Nil means that the client was answered.
func openTunnel(w *upgrade, r *http.Request) (http.ResponseWriter, *http.Request) {
	up := websocket.Upgrader{
		Subprotocols: []string{portforward.WebsocketsSPDYTunnelingPortForwardV1}, HandshakeTimeout: streamCreation,
		CheckOrigin: func(*http.Request) bool { return true }, // sameOrigin has
	}
	if !slices.Contains(websocket.Subprotocols(r), portforward.WebsocketsSPDYTunnelingPortForwardV1) {
		writeError(w, badRequest("the WebSocket protocol is not "+portforward.WebsocketsSPDYTunnelingPortForwardV1))
		return nil, nil
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return nil, nil
	}
	ws.SetReadLimit(1 << 20)
	inner := r.Clone(r.Context())
	inner.Method, inner.Header = http.MethodPost, http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {spdy.HeaderSpdy31}, "X-Stream-Protocol-Version": {portforward.ProtocolV1Name},
	}
	return &tunnelWriter{header: http.Header{}, conn: &tunnel{Conn: ws}}, inner
}

// tunnelWriter answers a request that was answered already, and hands out the tunnel.
type tunnelWriter struct {
	header http.Header
	conn   net.Conn
}

func (t *tunnelWriter) Header() http.Header         { return t.header }
func (t *tunnelWriter) WriteHeader(int)             {}
func (t *tunnelWriter) Write(b []byte) (int, error) { return len(b), nil }

// Hijack implements http.Hijacker.
func (t *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.conn, bufio.NewReadWriter(bufio.NewReader(t.conn), bufio.NewWriter(t.conn)), nil
}

// tunnel is a byte stream in the binary messages of a WebSocket. One goroutine may read and one may write.
type tunnel struct {
	*websocket.Conn
	rest io.Reader // of the message that is being read
}

func (t *tunnel) Read(b []byte) (int, error) {
	for {
		if t.rest == nil {
			kind, r, err := t.NextReader()
			if err != nil {
				return 0, closedAsEOF(err)
			}
			if kind != websocket.BinaryMessage {
				continue
			}
			t.rest = r
		}
		n, err := t.rest.Read(b)
		if err == io.EOF {
			t.rest, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func closedAsEOF(err error) error {
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway) || strings.Contains(err.Error(), "use of closed") {
		return io.EOF
	}
	return err
}

func (t *tunnel) Write(b []byte) (int, error) {
	if err := t.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (t *tunnel) SetDeadline(at time.Time) error {
	if err := t.SetReadDeadline(at); err != nil {
		return err
	}
	return t.SetWriteDeadline(at)
}
