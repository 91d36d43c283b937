package metrics

import (
	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/metrics"
	info "github.com/google/cadvisor/lib/model"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// provider gives the samples to cAdvisor's Prometheus collectors.
type provider struct {
	*machine
	latest func() *samples
}

// GetRequestedContainersInfo answers with everything that is sampled, whatever is asked for.
func (p provider) GetRequestedContainersInfo(string, info.RequestOptions) (map[string]*info.ContainerInfo, error) {
	s := p.latest()
	if s == nil {
		return nil, nil
	}
	out := make(map[string]*info.ContainerInfo, len(s.byName))
	for name, x := range s.byName {
		stats := x.stats
		if x.entry.kind == kindPod {
			withOOMs := *stats
			withOOMs.OOMEvents = s.ooms[x.entry.id]
			stats = &withOOMs
		}
		out[name] = &info.ContainerInfo{ContainerReference: x.ref, Spec: x.spec, Stats: []*info.ContainerStats{stats}}
	}
	return out, nil
}

// The labels that the kubelet and every CRI runtime put on containers.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelContainerName = "io.kubernetes.container.name"
)

// cadvisorLabels are the kubelet's base labels (containerPrometheusLabelsFunc of its server): every series has all of
// them, and the cgroup of a pod has the pod's name.
func cadvisorLabels(latest func() *samples) metrics.ContainerLabelsFunc {
	return func(c *info.ContainerInfo) map[string]string {
		name := ""
		if len(c.Aliases) > 0 {
			name = c.Aliases[0]
		}
		pod, namespace := c.Spec.Labels[labelPodName], c.Spec.Labels[labelPodNamespace]
		if s := latest(); pod == "" && s != nil {
			if x := s.byName[c.Name]; x != nil && x.entry.kind == kindPod {
				if sandbox := s.sandboxes[x.entry.id]; sandbox != nil {
					pod, namespace = sandbox.spec.Labels[labelPodName], sandbox.spec.Labels[labelPodNamespace]
				}
			}
		}
		return map[string]string{
			metrics.LabelID: c.Name, metrics.LabelName: name, metrics.LabelImage: c.Spec.Image,
			"pod": pod, "namespace": namespace, "container": c.Spec.Labels[labelContainerName],
		}
	}
}

// cadvisorCollectors are what /metrics/cadvisor shows.
func cadvisorCollectors(m *machine, set container.MetricSet, latest func() *samples) []prometheus.Collector {
	p := provider{machine: m, latest: latest}
	options := info.RequestOptions{IdType: info.TypeName, Count: 1, Recursive: true}
	out := []prometheus.Collector{
		metrics.NewPrometheusMachineCollector(p, set),
		metrics.NewPrometheusCollector(p, cadvisorLabels(latest), set, clock.RealClock{}, options),
	}
	if !set.Has(container.PressureMetrics) && pressureAvailable() {
		out = append(out, &nodePressureCollector{latest: latest})
	}
	return out
}
