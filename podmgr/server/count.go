package server

import (
	"net/http"
	"strings"
)

// count tells of a request. The path is the pattern's beginning, as the kubelet labels it ("metrics/cadvisor", "exec"), so
// that the number of series is bounded by the routes.
func (s *Server) count(r *http.Request, pattern string) {
	if s.Requested == nil || pattern == "" {
		return
	}
	door := "socket"
	if r.TLS != nil {
		door = "readwrite"
	}
	path := routeName(pattern)
	s.Requested(r.Method, path, door, longRunning(r, path))
}

// routeName is a pattern without its method and without what varies.
func routeName(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	pattern, _, _ = strings.Cut(pattern, "{")
	return strings.Trim(pattern, "/")
}

// longRunning says whether a request lasts as long as its client likes.
func longRunning(r *http.Request, path string) bool {
	switch path {
	case "exec", "attach", "portForward", "run":
		return true
	case "containerLogs":
		return r.URL.Query().Get("follow") == "true"
	default:
		return r.URL.Query().Get("watch") == "true"
	}
}
