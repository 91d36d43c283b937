package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/types"
)

// Board is what the server reads of the pods. What it returns is never written to. Changed returns a channel that is
// closed at the next change of anything the other methods return; taken before reading, it misses nothing.
type Board interface {
	List() []*podmgr.Entry
	Get(k manifests.Key) (*podmgr.Entry, bool)
	Problems() []manifests.Problem
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

// Config is what a Server serves. All of it must be set.
type Config struct {
	Board  Board
	Images podmgr.Images
	Logs   Logs
	// Version says what runs; it may ask the engine.
	Version func(ctx context.Context) Version
	// Healthy returns an error when the agent is not well.
	Healthy func(ctx context.Context) error
	// NodeName is the source of events.
	NodeName string
	Log      zerolog.Logger
}

// Server answers requests; it has no state.
type Server struct {
	Config
	mux *http.ServeMux
}

// Bounds of a connection. There is no write timeout, because logs and watches are open as long as somebody looks.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	maxBody           = 64 << 10 // of requests other than an import
	goodbye           = 3 * time.Second
)

// New returns a server for c.
func New(c Config) *Server {
	s := &Server{Config: c, mux: http.NewServeMux()}
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /healthz":     s.healthz,
		"GET /version":     s.version,
		"GET /pods":        s.pods,
		"GET /runningpods": s.runningPods,
		// The kubelet serves it with a slash at the end.
		"GET /runningpods/{$}": s.runningPods,
		"GET /problems":        s.problems,
		"GET /events":          s.events,
		"GET /images":          s.listImages,
		"POST /images/pull":    s.pullImage,
		"POST /images/import":  s.importImages,
		"DELETE /images":       s.removeImage,
		"GET /containerLogs/{namespace}/{pod}/{container}": s.containerLogs,
	} {
		s.mux.HandleFunc(pattern, h)
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/images/import" {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.unknown(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

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
	hs := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          newErrorLog(s.Log),
	}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if err := hs.Shutdown(last); err != nil {
		_ = hs.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return nil
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	if err := s.Healthy(r.Context()); err != nil {
		writeError(w, &apiError{code: http.StatusServiceUnavailable, message: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok")
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
