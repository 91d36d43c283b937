// Package metrics answers "how much": what the node, the pods and their containers use, and how the agent does.
//
//	cgroups, /proc ─▶ housekeeper ─▶ samples ─┬─▶ /metrics/cadvisor   cAdvisor's own collectors
//	mount table, du ─▶ disks ────────▶ usage ─┼─▶ /stats/summary      k8s.io/kubelet/pkg/apis/stats/v1alpha1
//	                                          └─▶ /metrics/resource   what metrics-server reads
//	board (Config.Pods) ──▶ follower ─▶ Recorder ─┬─▶ /metrics        kubelet_*, agent_*, go_*, process_*
//	hooks of the engine and the probes ──────────▶┴─▶ /metrics/probes prober_*
//
// cAdvisor runs in this process: its containerd handler, its cgroup readers, its machine facts and its Prometheus
// collectors are used as they are. Only its manager is replaced by the housekeeper, for four reasons: the manager cannot
// be stopped (it never ends the goroutine it starts for each container), it stretches the interval by up to its double
// (jitter), it holds up all discovery for three seconds when a task is slow to appear, and it remembers two minutes of
// samples where two samples are needed. The housekeeper is one goroutine that looks at the agent's cgroup tree at every
// interval: no inotify watches, nothing to miss.
//
// Names, labels and help texts are the kubelet's (Kubernetes 1.37), so that dashboards and scrapers work unchanged. What
// the kubelet has no name for is called agent_*.
package metrics
