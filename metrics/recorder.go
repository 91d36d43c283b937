package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Recorder counts what happens in the agent, under the kubelet's names. Its methods may be called from any goroutine,
// take no time, and may be called on a nil Recorder, which records nothing.
type Recorder struct {
	podWork         *prometheus.HistogramVec
	podWorkerStart  prometheus.Histogram
	podStart        prometheus.Histogram
	podStartTotal   prometheus.Histogram
	observe         prometheus.Histogram
	observed        prometheus.Gauge
	operations      *prometheus.CounterVec
	operationTime   *prometheus.HistogramVec
	operationErrors *prometheus.CounterVec
	starts          starts
	pulls           *prometheus.HistogramVec
	requests        *prometheus.CounterVec
	probes          probes
}

// starts counts what was started and ended.
type starts struct {
	sandboxTime     *prometheus.HistogramVec
	sandboxErrors   *prometheus.CounterVec
	pods            prometheus.Counter
	podErrors       prometheus.Counter
	containers      *prometheus.CounterVec
	containerErrors *prometheus.CounterVec
	terminated      *prometheus.CounterVec
}

// collectors is everything that /metrics shows of the Recorder.
func (r *Recorder) collectors() []prometheus.Collector {
	s := &r.starts
	return []prometheus.Collector{
		r.podWork, r.podWorkerStart, r.podStart, r.podStartTotal, r.observe, r.observed,
		r.operations, r.operationTime, r.operationErrors,
		s.sandboxTime, s.sandboxErrors, s.pods, s.podErrors, s.containers, s.containerErrors, s.terminated,
		r.pulls, r.requests,
	}
}

// PodWorked records one round of work on a pod; operation is create, update, sync or terminate.
func (r *Recorder) PodWorked(operation string, took time.Duration) {
	if r != nil {
		r.podWork.WithLabelValues(operation).Observe(took.Seconds())
	}
}

// PodWorkerStarted records how long a pod waited for its worker.
func (r *Recorder) PodWorkerStarted(waited time.Duration) {
	if r != nil {
		r.podWorkerStart.Observe(waited.Seconds())
	}
}

// RuntimeOperation records one call of the engine, named as the kubelet names those of CRI: run_podsandbox,
// start_container, stop_container, remove_container, pull_image, exec_sync, … What the kubelet shows of sandboxes and of
// its looks at pods (PLEG) is derived from run_podsandbox and podsandbox_status.
func (r *Recorder) RuntimeOperation(operation string, took time.Duration, err error) {
	if r == nil {
		return
	}
	r.operations.WithLabelValues(operation).Inc()
	r.operationTime.WithLabelValues(operation).Observe(took.Seconds())
	if err != nil {
		r.operationErrors.WithLabelValues(operation).Inc()
	}
	switch {
	case operation == "podsandbox_status" && err == nil:
		r.observe.Observe(took.Seconds())
		r.observed.SetToCurrentTime()
	case operation == "run_podsandbox" && err == nil:
		r.starts.sandboxTime.WithLabelValues(defaultHandler).Observe(took.Seconds())
	case operation == "run_podsandbox":
		r.starts.sandboxErrors.WithLabelValues(defaultHandler).Inc()
		r.starts.podErrors.Inc()
	}
}

// defaultHandler is the runtime_handler label of pods without a runtime class; the agent knows no others.
const defaultHandler = ""

// ContainerStartFailed records a container that could not be started; kind is container, init_container or
// ephemeral_container, reason the kubelet's, such as CreateContainerError.
func (r *Recorder) ContainerStartFailed(kind, reason string) {
	if r != nil {
		r.starts.containerErrors.WithLabelValues(kind, reason).Inc()
	}
}

// ImagePulled records a pull that went to the registry, with the size of the image in bytes.
func (r *Recorder) ImagePulled(size int64, took time.Duration, err error) {
	if r == nil {
		return
	}
	r.RuntimeOperation("pull_image", took, err)
	if err == nil {
		r.pulls.WithLabelValues(sizeBucket(size)).Observe(took.Seconds())
	}
}

// Request records an answered HTTP request; path is the route, not the URL, so that the number of series is bounded.
func (r *Recorder) Request(method, path, server string, longRunning bool) {
	if r != nil {
		r.requests.WithLabelValues(method, path, server, strconv.FormatBool(longRunning)).Inc()
	}
}
