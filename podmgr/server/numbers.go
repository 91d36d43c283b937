package server

import "net/http"

// Numbers are the handlers of what is measured.
type Numbers struct {
	// Agent, Cadvisor, Resource and Probes answer in Prometheus' format, Summary with a stats.Summary.
	Agent, Cadvisor, Resource, Probes, Summary http.Handler
}

// HandleNumbers serves n at the kubelet's paths to callers who may read metrics. It must be called before the server runs.
func (s *Server) HandleNumbers(n Numbers) {
	s.handle("GET /metrics", Metrics, n.Agent)
	s.handle("GET /metrics/cadvisor", Metrics, n.Cadvisor)
	s.handle("GET /metrics/resource", Metrics, n.Resource)
	s.handle("GET /metrics/probes", Metrics, n.Probes)
	s.handle("GET /stats/summary", Metrics, n.Summary)
}
