package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// NewRecorder returns a Recorder with everything at zero.
func NewRecorder() *Recorder {
	return &Recorder{
		podWork:        histogramVec("pod_worker_duration_seconds", "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync", prometheus.DefBuckets, "operation_type"),
		podWorkerStart: histogram("pod_worker_start_duration_seconds", "Duration in seconds from kubelet seeing a pod to starting a worker.", prometheus.DefBuckets),
		podStart:       histogram("pod_start_duration_seconds", "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run", podStartBuckets()),
		podStartTotal:  histogram("pod_start_total_duration_seconds", "Duration in seconds to start a pod since creation, including time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch", podStartBuckets()),
		observe:        histogram("pleg_pod_relist_duration_seconds", "Duration in seconds for relisting a single pod in PLEG.", prometheus.DefBuckets),
		observed:       gauge("pleg_last_seen_seconds", "Timestamp in seconds when PLEG was last seen active."),

		operations:      counterVec("runtime_operations_total", "Cumulative number of runtime operations by operation type.", "operation_type"),
		operationTime:   histogramVec("runtime_operations_duration_seconds", "Duration in seconds of runtime operations. Broken down by operation type.", prometheus.ExponentialBuckets(.005, 2.5, 14), "operation_type"),
		operationErrors: counterVec("runtime_operations_errors_total", "Cumulative number of runtime operation errors by operation type.", "operation_type"),

		starts: starts{
			sandboxTime:     histogramVec("run_podsandbox_duration_seconds", "Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler.", prometheus.DefBuckets, "runtime_handler"),
			sandboxErrors:   counterVec("run_podsandbox_errors_total", "Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.", "runtime_handler"),
			pods:            counter("started_pods_total", "Cumulative number of pods started"),
			podErrors:       counter("started_pods_errors_total", "Cumulative number of errors when starting pods"),
			containers:      counterVec("started_containers_total", "Cumulative number of containers started", "container_type"),
			containerErrors: counterVec("started_containers_errors_total", "Cumulative number of errors when starting containers", "container_type", "code"),
			terminated:      counterVec("terminated_containers_total", "Cumulative number of container terminations.", "container_type", "exit_code", "reason"),
		},
		pulls:    histogramVec("image_pull_duration_seconds", "Duration in seconds to pull an image.", imagePullBuckets(), "image_size_in_bytes"),
		requests: counterVec("http_requests_total", "Number of the http requests received since the server started", "method", "path", "server_type", "long_running"),
		probes:   newProbes(),
	}
}

// podStartBuckets and imagePullBuckets are the kubelet's.
func podStartBuckets() []float64 {
	return []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
}

func imagePullBuckets() []float64 {
	return []float64{1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
}

// sizeBucket is the kubelet's image_size_in_bytes (pkg/kubelet/metrics, GetImageSizeBucket).
func sizeBucket(bytes int64) string {
	const mb, gb = 1 << 20, 1 << 30
	if bytes <= 0 {
		return "N/A"
	}
	for _, b := range []struct {
		most  int64
		label string
	}{
		{10 * mb, "0-10MB"},
		{100 * mb, "10MB-100MB"},
		{500 * mb, "100MB-500MB"},
		{gb, "500MB-1GB"},
		{5 * gb, "1GB-5GB"},
		{10 * gb, "5GB-10GB"},
		{20 * gb, "10GB-20GB"},
		{30 * gb, "20GB-30GB"},
		{40 * gb, "30GB-40GB"},
		{60 * gb, "40GB-60GB"},
		{100 * gb, "60GB-100GB"},
	} {
		if bytes <= b.most {
			return b.label
		}
	}
	return "GT100GB"
}

// staticLabel is "true" for a pod that does not come from an API server; the kubelet leaves the others empty.
func staticLabel(static bool) string {
	if static {
		return "true"
	}
	return ""
}

const kubelet = "kubelet"

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Subsystem: kubelet, Name: name, Help: help})
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: kubelet, Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Subsystem: kubelet, Name: name, Help: help})
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Subsystem: kubelet, Name: name, Help: help, Buckets: buckets})
}

func histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Subsystem: kubelet, Name: name, Help: help, Buckets: buckets}, labels)
}
