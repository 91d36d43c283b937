package metrics

import (
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
)

// Probe is one verdict of a probe.
type Probe struct {
	Pod       manifests.Key
	UID       string
	Container string
	// Type is Liveness, Readiness or Startup, Result successful, failed or unknown: the kubelet's labels.
	Type   string
	Result string
	Took   time.Duration
}

// The kubelet's words for the result of a probe.
const (
	ProbeSuccessful = "successful"
	ProbeFailed     = "failed"
	ProbeUnknown    = "unknown"
)

// probes counts verdicts (pkg/kubelet/prober/prober_manager.go).
type probes struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newProbes() probes {
	return probes{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Subsystem: "prober", Name: "probe_total",
			Help: "Cumulative number of a liveness, readiness or startup probe for a container by result.",
		}, []string{"probe_type", "result", "container", "pod", "namespace", "pod_uid"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Subsystem: "prober", Name: "probe_duration_seconds", Help: "Duration in seconds for a probe response.",
			Buckets: prometheus.DefBuckets,
		}, []string{"probe_type", "container", "pod", "namespace"}),
	}
}

// Probe records a verdict. As with the kubelet, only the duration of what answered well is kept.
func (r *Recorder) Probe(p Probe) {
	if r == nil {
		return
	}
	r.probes.total.WithLabelValues(p.Type, p.Result, p.Container, p.Pod.Name, p.Pod.Namespace, p.UID).Inc()
	if p.Result == ProbeSuccessful {
		r.probes.duration.WithLabelValues(p.Type, p.Container, p.Pod.Name, p.Pod.Namespace).Observe(p.Took.Seconds())
	}
}

// Probed records a verdict on a container of a pod; kind and result are the kubelet's labels probe_type and result.
func (r *Recorder) Probed(pod *v1.Pod, container, kind, result string, took time.Duration) {
	r.Probe(Probe{
		Pod: manifests.Key{Namespace: pod.Namespace, Name: pod.Name}, UID: string(pod.UID), Container: container, Type: kind, Result: result, Took: took,
	})
}

// forget drops the series of a pod that is gone, so that their number is bounded by the pods there are. The durations
// are dropped only with the last pod of the name: its successor's are the same series.
func (p *probes) forget(uid string, k manifests.Key, last bool) {
	p.total.DeletePartialMatch(prometheus.Labels{"pod_uid": uid})
	if last {
		p.duration.DeletePartialMatch(prometheus.Labels{"pod": k.Name, "namespace": k.Namespace})
	}
}
