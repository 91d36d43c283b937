package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Board is what the server reads of the pods. What it returns is never written to. Changed returns a channel that is
// closed at the next change of anything the other methods return; taken before reading, it misses nothing.
type Board interface {
	List() []*podmgr.Entry
	Get(k manifests.Key) (*podmgr.Entry, bool)
	Problems() []manifests.Problem
	Configs() []*manifests.Config
	Events(k manifests.Key) []podmgr.Event
	Changed() <-chan struct{}
}

// Logs is what the server reads of container output; *logs.Hub is one.
type Logs interface {
	// File is the path of one instance's log, whether it exists or not.
	File(namespace, name string, uid types.UID, container string, attempt int) string
	// Read is described at logs.Hub.
	Read(ctx context.Context, w io.Writer, path string, o logs.ReadOptions, alive func() bool) error
}

// Containers is what the server may do to containers and pods that run.
type Containers interface {
	// Exec runs a command in a container and returns when it has ended: *podmgr.ExitError for an exit code other than 0.
	// When ctx ends it kills the command with everything it started.
	Exec(ctx context.Context, id string, c podmgr.Command) error
	// Attach connects a client with the first process of a container until one of them is done or ctx ends; Args is empty.
	Attach(ctx context.Context, id string, c podmgr.Command) error
	// PortForward connects stream with a port of a pod until both have ended, one fails or ctx ends.
	PortForward(ctx context.Context, p *manifests.Pod, port int32, stream io.ReadWriteCloser) error
}

// Config is what a Server serves. What is nil is answered with 501; Board, Images, Logs, Version and Healthy must be set.
type Config struct {
	Board  Board
	Images podmgr.Images
	Logs   Logs
	// Version says what runs; it may ask the engine.
	Version func(ctx context.Context) Version
	// Healthy returns an error when the agent is not well.
	Healthy func(ctx context.Context) error
	// Ready is closed when the board shows every pod. Nil: it always does.
	Ready <-chan struct{}
	// Checks are the parts of /healthz.
	Checks     []health.Named
	Containers Containers
	// Restart ends the containers of a pod so that they are started again; it does not wait for that.
	Restart func(ctx context.Context, k manifests.Key) error
	// Configz returns the agent's configuration, for JSON. It must hold no secrets.
	Configz func() any
	// Node is the node as the API server would have it.
	Node func(ctx context.Context) (*v1.Node, error)
	// Requested, when set, is told of every request that a route answers: path is the route without what varies, door is
	// socket or readwrite (the kubelet's word for TLS). It must not block.
	Requested func(method, path, door string, longRunning bool)
	// HostLogs is the directory behind /logs/, "/var/log".
	HostLogs string
	// NodeName is the source of events.
	NodeName string
	Log      zerolog.Logger
}

// Server answers requests. Apart from counts of what goes on it has no state.
type Server struct {
	born time.Time // see awaitBoard
	Config
	mux     *http.ServeMux
	actions map[string]Action // by pattern; written before it serves

	streams   *quota // execs and attaches
	forwards  *quota // connections that forward ports
	followers *quota // of logs
}

// Bounds of a connection. Logs and watches are open as long as somebody looks, so each write has a deadline of its own.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	maxBody           = 64 << 10 // of requests other than an import
	goodbye           = 3 * time.Second
	readTimeout       = 15 * time.Second // for the whole of such a body
	writeTimeout      = 30 * time.Second // for one write
)

// New returns a server for c.
func New(c Config) *Server {
	s := &Server{
		born:   time.Now(),
		Config: c, mux: http.NewServeMux(), actions: map[string]Action{},
		streams: newQuota(maxStreams, maxStreamsPerPod), forwards: newQuota(maxForwards, maxForwardsPerPod),
		followers: newQuota(maxFollowers, maxFollowersPerPod),
	}
	for _, r := range []struct {
		pattern string
		action  Action
		handler http.HandlerFunc
	}{
		{"GET /healthz", open, s.healthz},
		{"GET /healthz/{part}", open, s.healthz},
		{"GET /version", Read, s.version},
		{"GET /pods", Read, s.pods},
		{"GET /pods/{$}", Read, s.pods},
		{"GET /runningpods", Read, s.runningPods},
		// The kubelet serves it with a slash at the end.
		{"GET /runningpods/{$}", Read, s.runningPods},
		{"GET /problems", Read, s.problems},
		{"GET /configmaps", Read, s.configMaps},
		{"GET /secrets", Read, s.secrets},
		{"GET /node", Read, s.node},
		{"GET /events", Read, s.events},
		{"GET /configz", Read, s.configz},
		{"GET /images", Read, s.listImages},
		{"POST /images/pull", Admin, s.pullImage},
		{"POST /images/import", Admin, s.importImages},
		{"POST /images/pin", Admin, s.pinImage},
		{"DELETE /images", Admin, s.removeImage},
		{"POST /restart/{namespace}/{pod}", Admin, s.restart},
		{"GET /containerLogs/{namespace}/{pod}/{container}", ReadLogs, s.containerLogs},
		{"GET /logs/{path...}", Admin, s.hostLogs},
		{"/exec/{namespace}/{pod}/{container}", Exec, s.exec},
		{"/exec/{namespace}/{pod}/{uid}/{container}", Exec, s.exec},
		// Not by GET, as with the kubelet: a page of another site can have a browser send one.
		{"POST /run/{namespace}/{pod}/{container}", Exec, s.run},
		{"POST /run/{namespace}/{pod}/{uid}/{container}", Exec, s.run},
		{"/attach/{namespace}/{pod}/{container}", Attach, s.attach},
		{"/attach/{namespace}/{pod}/{uid}/{container}", Attach, s.attach},
		{"/portForward/{namespace}/{pod}", PortForward, s.portForward},
		{"/portForward/{namespace}/{pod}/{uid}", PortForward, s.portForward},
	} {
		s.handle(r.pattern, r.action, r.handler)
	}
	return s
}

// handle serves h under a pattern of http.ServeMux to callers who may do a. It is not for other packages: every route is
// registered in this one, so that the test of routes and credentials sees them all.
func (s *Server) handle(pattern string, a Action, h http.Handler) {
	s.mux.Handle(pattern, h)
	s.actions[pattern] = a
}

// actionOf is the action of the route that a request takes; empty when no route matches.
func (s *Server) actionOf(r *http.Request) Action {
	_, pattern := s.mux.Handler(r)
	return s.actions[pattern]
}

// ServeHTTP answers a request of somebody who may do everything: the one who can open the socket.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, Caller{Name: "socket"})
}

// callerKey is where a request's context holds its Caller.
type callerKey struct{}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, c Caller) {
	out := &patient{ResponseWriter: w, controller: http.NewResponseController(w)}
	defer s.recovered(out, r)
	_, pattern := s.mux.Handler(r)
	s.count(r, pattern)
	// A request of our own: net/http looks at the body of its own to see whether to wait for the rest of it.
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
	if pattern != "POST /images/import" {
		r.Body = http.MaxBytesReader(out, r.Body, maxBody)
		if r.ContentLength != 0 {
			// Only with a body: without one net/http itself reads, and would take the deadline for the client's end.
			_ = out.controller.SetReadDeadline(time.Now().Add(readTimeout))
		}
	}
	if pattern == "" {
		s.unknown(out, r)
		return
	}
	s.mux.ServeHTTP(out, r)
}

// recovered keeps a fault of one handler from everybody else.
func (s *Server) recovered(w *patient, r *http.Request) {
	switch p := recover(); {
	case p == nil:
	case p == any(http.ErrAbortHandler), w.begun:
		if p != any(http.ErrAbortHandler) {
			s.Log.Error().Any("panic", p).Str("path", r.URL.Path).Bytes("stack", debug.Stack()).Msg("serving")
		}
		panic(http.ErrAbortHandler) // what was begun must not look whole
	default:
		s.Log.Error().Any("panic", p).Str("path", r.URL.Path).Bytes("stack", debug.Stack()).Msg("serving")
		writeError(w, errors.New("internal error"))
	}
}

// patient is a ResponseWriter that waits a bounded time for a client that does not read.
type patient struct {
	http.ResponseWriter
	controller *http.ResponseController
	begun      bool
}

func (p *patient) WriteHeader(code int) {
	p.begun = true
	p.ResponseWriter.WriteHeader(code)
}

func (p *patient) Write(b []byte) (int, error) {
	p.begun = true
	p.extend()
	return p.ResponseWriter.Write(b)
}

// FlushError is called by http.ResponseController.
func (p *patient) FlushError() error {
	p.begun = true
	p.extend()
	return p.controller.Flush()
}

func (p *patient) extend() { _ = p.controller.SetWriteDeadline(time.Now().Add(writeTimeout)) }

// Unwrap is called by http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// unknown answers what no pattern matches, with the status and headers that the mux would give.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	m := muted{ResponseWriter: w}
	s.mux.ServeHTTP(&m, r)
	w.Header().Del("X-Content-Type-Options")
	writeError(w, &apiError{code: m.code, message: fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, http.StatusText(m.code))})
}

// muted keeps the status and drops the body.
type muted struct {
	http.ResponseWriter
	code int
}

func (m *muted) WriteHeader(code int)        { m.code = code }
func (m *muted) Write(p []byte) (int, error) { return len(p), nil }

// Run serves l until ctx ends; it ends open streams and closes l then.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if err := s.serveHTTP(ctx, l, s, nil); err != nil {
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return nil
}

// joinKey is where a request's context holds what waits for connections that were taken over.
type joinKey struct{}

// serveHTTP serves l with h until ctx ends, and returns when every handler has. Conns may be nil.
func (s *Server) serveHTTP(ctx context.Context, l net.Listener, h http.Handler, conns *connections) error {
	var taken sync.WaitGroup // connections that were taken over, which net/http does not wait for
	base := context.WithValue(ctx, joinKey{}, &taken)
	hs := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout, // bounds TLS handshakes too
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          newErrorLog(s.Log),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	if conns != nil {
		hs.ConnState = conns.state
		hs.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if err := hs.Shutdown(last); err != nil {
		_ = hs.Close()
	}
	taken.Wait() // their contexts have ended, and with them what they do
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) version(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, s.Version(r.Context()))
}

func (s *Server) problems(w http.ResponseWriter, _ *http.Request) {
	list := []Problem{}
	for _, p := range s.Board.Problems() {
		list = append(list, NewProblem(p))
	}
	writeJSON(w, list)
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeError(w, fmt.Errorf("encoding the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}
