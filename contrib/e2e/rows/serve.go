package rows

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// server is a server of a row on the host, for probes and hooks that name a host.
type server struct {
	mu    sync.Mutex // guards lines
	lines []string
	stop  func()
}

// ServeHTTP notes what it is asked; /to/X redirects to X, /away to another host.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.lines = append(s.lines, fmt.Sprintf("%s %s X-Why=%s host=%s agent=%s", r.Method, r.URL.RequestURI(),
		strings.Join(r.Header.Values("X-Why"), ","), r.Host, r.UserAgent()))
	s.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/to/"):
		http.Redirect(w, r, strings.TrimPrefix(r.URL.Path, "/to"), http.StatusFound)
	case r.URL.Path == "/away":
		http.Redirect(w, r, "http://192.0.2.1/never", http.StatusFound)
	}
}

func (x *X) listen(address string) net.Listener {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, x.Port))
	if err != nil {
		x.Fatalf("listening for the row: %v", err)
	}
	return l
}

// serve answers HTTP on the row's port of the host's loopback address until the suite ends.
func (x *X) serve() { x.serveWith((*httptest.Server).Start) }

// serveTLS is serve with a certificate that nobody knows.
func (x *X) serveTLS() { x.serveWith((*httptest.Server).StartTLS) }

func (x *X) serveWith(start func(*httptest.Server)) {
	x.server = &server{}
	web := &httptest.Server{Listener: x.listen("127.0.0.1"), Config: &http.Server{Handler: x.server}}
	start(web)
	x.server.stop = web.Close
}

// serveGRPC answers for a service that is well, on all addresses of the host.
func (x *X) serveGRPC(service string) {
	health := grpchealth.NewServer()
	health.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
	health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health)
	l := x.listen("")
	go func() { _ = s.Serve(l) }()
	x.server = &server{stop: s.Stop}
}

// asked is what the row's server was asked, a line each.
func (x *X) asked() string {
	x.server.mu.Lock()
	defer x.server.mu.Unlock()
	return strings.Join(x.server.lines, "\n")
}

// exists says whether /out has a file.
func (x *X) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(x.Out, name))
	return err == nil
}

// processes are those of the row's pod with a word in their command line.
func (x *X) processes(word string) []string {
	var out []string
	for _, p := range node.Of(x.node.Processes(), string(x.Pod().UID)) {
		if args := strings.Join(p.Args, " "); strings.Contains(args, word) {
			out = append(out, args)
		}
	}
	return out
}

// differ is "" when got is want, for Eventually.
func differ[T comparable](got, want T) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%v, want %v", got, want)
}
