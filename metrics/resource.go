package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// resourceCollector is what metrics-server reads: /metrics/resource exactly as the kubelet's
// (pkg/kubelet/metrics/collectors/resource_metrics.go), names, help texts, timestamps and all.
type resourceCollector struct {
	summary func(ctx context.Context, onlyCPUAndMemory bool) (*statsapi.Summary, error)
	log     zerolog.Logger
}

var (
	nodeCPUDesc         = prometheus.NewDesc("node_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the node in core-seconds", nil, nil)
	nodeMemoryDesc      = prometheus.NewDesc("node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", nil, nil)
	nodeSwapDesc        = prometheus.NewDesc("node_swap_usage_bytes", "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems", nil, nil)
	containerStartDesc  = prometheus.NewDesc("container_start_time_seconds", "[STABLE] Start time of the container since unix epoch in seconds", containerLabels(), nil)
	containerCPUDesc    = prometheus.NewDesc("container_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the container in core-seconds", containerLabels(), nil)
	containerMemoryDesc = prometheus.NewDesc("container_memory_working_set_bytes", "[STABLE] Current working set of the container in bytes", containerLabels(), nil)
	containerSwapDesc   = prometheus.NewDesc("container_swap_usage_bytes", "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems", containerLabels(), nil)
	containerLimitDesc  = prometheus.NewDesc("container_swap_limit_bytes", "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems", containerLabels(), nil)
	podCPUDesc          = prometheus.NewDesc("pod_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds", podLabels(), nil)
	podMemoryDesc       = prometheus.NewDesc("pod_memory_working_set_bytes", "[STABLE] Current working set of the pod in bytes", podLabels(), nil)
	podSwapDesc         = prometheus.NewDesc("pod_swap_usage_bytes", "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems", podLabels(), nil)
	resourceErrorDesc   = prometheus.NewDesc("resource_scrape_error", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise", nil, nil)
)

func containerLabels() []string { return []string{"container", "pod", "namespace"} }

func podLabels() []string { return []string{"pod", "namespace"} }

func (c *resourceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		nodeCPUDesc, nodeMemoryDesc, nodeSwapDesc, containerStartDesc, containerCPUDesc, containerMemoryDesc, containerSwapDesc,
		containerLimitDesc, podCPUDesc, podMemoryDesc, podSwapDesc, resourceErrorDesc,
	} {
		ch <- d
	}
}

func (c *resourceCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.summary(context.Background(), true)
	if err != nil {
		c.log.Debug().Err(err).Msg("no summary for /metrics/resource")
		ch <- prometheus.MustNewConstMetric(resourceErrorDesc, prometheus.GaugeValue, 1)
		return
	}
	sendUsage(ch, nodeCPUDesc, nodeMemoryDesc, s.Node.CPU, s.Node.Memory)
	sendSwap(ch, nodeSwapDesc, nil, s.Node.Swap)
	for i := range s.Pods {
		p := &s.Pods[i]
		for j := range p.Containers {
			k := &p.Containers[j]
			labels := []string{k.Name, p.PodRef.Name, p.PodRef.Namespace}
			if k.StartTime.Unix() > 0 {
				seconds := float64(k.StartTime.UnixNano()) / float64(time.Second)
				ch <- prometheus.MustNewConstMetric(containerStartDesc, prometheus.GaugeValue, seconds, labels...)
			}
			sendUsage(ch, containerCPUDesc, containerMemoryDesc, k.CPU, k.Memory, labels...)
			sendSwap(ch, containerSwapDesc, containerLimitDesc, k.Swap, labels...)
		}
		sendUsage(ch, podCPUDesc, podMemoryDesc, p.CPU, p.Memory, p.PodRef.Name, p.PodRef.Namespace)
		sendSwap(ch, podSwapDesc, nil, p.Swap, p.PodRef.Name, p.PodRef.Namespace)
	}
	ch <- prometheus.MustNewConstMetric(resourceErrorDesc, prometheus.GaugeValue, 0)
}

func sendUsage(ch chan<- prometheus.Metric, cpuDesc, memoryDesc *prometheus.Desc, cpu *statsapi.CPUStats, mem *statsapi.MemoryStats, labels ...string) {
	if cpu != nil && cpu.UsageCoreNanoSeconds != nil {
		seconds := float64(*cpu.UsageCoreNanoSeconds) / float64(time.Second)
		ch <- prometheus.NewMetricWithTimestamp(cpu.Time.Time, prometheus.MustNewConstMetric(cpuDesc, prometheus.CounterValue, seconds, labels...))
	}
	if mem != nil && mem.WorkingSetBytes != nil {
		ch <- prometheus.NewMetricWithTimestamp(mem.Time.Time,
			prometheus.MustNewConstMetric(memoryDesc, prometheus.GaugeValue, float64(*mem.WorkingSetBytes), labels...))
	}
}

// sendSwap sends usage and, with a limitDesc, the limit: what is used and what is still available.
func sendSwap(ch chan<- prometheus.Metric, usageDesc, limitDesc *prometheus.Desc, s *statsapi.SwapStats, labels ...string) {
	if s == nil || s.SwapUsageBytes == nil {
		return
	}
	used := float64(*s.SwapUsageBytes)
	send := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.NewMetricWithTimestamp(s.Time.Time, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
	}
	send(usageDesc, used)
	if limitDesc != nil && s.SwapAvailableBytes != nil {
		send(limitDesc, used+float64(*s.SwapAvailableBytes))
	}
}
