package metrics

import (
	"maps"
	"regexp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// maxLabelKeys bounds the label names that pods can bring into the metrics.
const maxLabelKeys = 64

// labelCollector shows the labels of pods as kube-state-metrics does (kube_pod_labels), so that any series with pod and
// namespace can be joined to a service:
//
//	sum by (label_app) (rate(container_cpu_usage_seconds_total[5m]) * on (namespace, pod) group_left (label_app) agent_pod_labels)
//
// Its label names depend on the pods, hence it describes nothing beforehand (an "unchecked" collector).
type labelCollector struct {
	pods func() []Pod
}

func (c *labelCollector) Describe(chan<- *prometheus.Desc) {}

var notLabel = regexp.MustCompile(`[^a-zA-Z0-9_]`)

func (c *labelCollector) Collect(ch chan<- prometheus.Metric) {
	pods := c.pods()
	names := map[string]bool{}
	for i := range pods {
		if pods[i].Object != nil {
			for k := range pods[i].Object.Labels {
				names["label_"+notLabel.ReplaceAllString(k, "_")] = true
			}
		}
	}
	keys := slices.Sorted(maps.Keys(names))
	keys = keys[:min(len(keys), maxLabelKeys)]
	desc := prometheus.NewDesc("agent_pod_labels", "The pod's labels, each as label_<name>. The value is always 1.",
		append([]string{"namespace", "pod", "uid"}, keys...), nil)
	for i := range pods {
		p := &pods[i]
		if p.Object == nil {
			continue
		}
		values := make(map[string]string, len(keys))
		for _, k := range slices.Sorted(maps.Keys(p.Object.Labels)) { // sorted: of two that look the same, always the same wins
			values["label_"+notLabel.ReplaceAllString(k, "_")] = p.Object.Labels[k]
		}
		row := []string{p.Key.Namespace, p.Key.Name, p.uid()}
		for _, k := range keys {
			row = append(row, values[k])
		}
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, 1, row...)
	}
}
