package metrics

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// scrapesAtOnce bounds what scrapes can hold in memory together; more are answered with 503.
const scrapesAtOnce = 2

// AgentHandler answers /metrics: kubelet_*, agent_*, go_* and process_*.
func (m *Metrics) AgentHandler() http.Handler { return m.scrape(m.agent) }

// ProbesHandler answers /metrics/probes.
func (m *Metrics) ProbesHandler() http.Handler { return m.scrape(m.probes) }

// CadvisorHandler answers /metrics/cadvisor.
func (m *Metrics) CadvisorHandler() http.Handler {
	if m.housekeeper == nil {
		return m.scrape(nil)
	}
	return textHandler(m.cadvisor...)
}

// ResourceHandler answers /metrics/resource.
func (m *Metrics) ResourceHandler() http.Handler { return m.scrape(m.resource) }

// scrape answers with what is in r; without one cAdvisor is off.
func (m *Metrics) scrape(r *prometheus.Registry) http.Handler {
	if r == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, errOff.Error(), http.StatusServiceUnavailable)
		})
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: promLog{m.config.Log}, ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce, // no Timeout: its handler would hold the whole answer in memory
	})
}

// promLog takes what promhttp has to complain about.
type promLog struct{ log zerolog.Logger }

func (l promLog) Println(v ...any) { l.log.Warn().Interface("error", v).Msg("collecting metrics") }

// SummaryHandler answers /stats/summary, with ?only_cpu_and_memory=true the short one.
func (m *Metrics) SummaryHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		brief := false
		if v := r.URL.Query().Get("only_cpu_and_memory"); v != "" {
			var err error
			if brief, err = strconv.ParseBool(v); err != nil {
				http.Error(w, "only_cpu_and_memory: want true or false", http.StatusBadRequest)
				return
			}
		}
		s, err := m.Summary(r.Context(), brief)
		switch {
		case errors.Is(err, errOff), errors.Is(err, errEarly):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		body, err := json.MarshalIndent(s, "", " ") // the kubelet's answer is indented by one, too
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n'))
	})
}
