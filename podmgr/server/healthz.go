package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"edgepod.dev/agent/health"
)

// checkTime is how long one part of /healthz may take to answer.
const checkTime = 5 * time.Second

// healthz answers "ok", or what is wrong; with ?verbose or of one part as the API server does.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	checks := s.parts()
	if part := r.PathValue("part"); part != "" {
		checks = slices.DeleteFunc(checks, func(c health.Named) bool { return c.Name != part })
		if len(checks) == 0 {
			writeError(w, notFound(fmt.Sprintf("there is no part %q of /healthz", part)))
			return
		}
	}
	errs := ask(r.Context(), checks)
	var report strings.Builder
	bad := false
	for i, c := range checks {
		if errs[i] != nil {
			bad = true
			fmt.Fprintf(&report, "[-]%s failed: %v\n", c.Name, errs[i])
		} else {
			fmt.Fprintf(&report, "[+]%s ok\n", c.Name)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case bad:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, report.String()+"healthz check failed\n")
	case r.URL.Query().Has("verbose"):
		_, _ = io.WriteString(w, report.String()+"healthz check passed\n")
	default:
		_, _ = io.WriteString(w, "ok")
	}
}

// parts are the checks of /healthz: that somebody answers at all, the whole, and each that has a name.
func (s *Server) parts() []health.Named {
	own := []health.Named{{Name: "ping", Check: func(context.Context) error { return nil }}}
	if len(s.Checks) == 0 {
		own = append(own, health.Named{Name: "agent", Check: s.Healthy})
	}
	return append(own, s.Checks...)
}

// ask runs all checks side by side.
func ask(ctx context.Context, checks []health.Named) []error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { errs[i] = c.Check(ctx) })
	}
	wg.Wait()
	return errs
}

func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	if s.Configz == nil {
		writeError(w, notHere("the configuration"))
		return
	}
	writeJSON(w, map[string]any{"agent": s.Configz()})
}
