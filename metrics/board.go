package metrics

import (
	"context"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/opencontainers/cgroups"
	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
)

// boardCollector shows what the board shows at the moment of the scrape: nothing is kept, so nothing of a pod that is
// gone stays.
type boardCollector struct {
	config Config
	disk   func() *diskUsage
}

var (
	nodeNameDesc    = prometheus.NewDesc("kubelet_node_name", "The node's name. The count is always 1.", []string{"node"}, nil)
	runningPodsDesc = prometheus.NewDesc("kubelet_running_pods", "Number of pods that have a running pod sandbox", nil, nil)
	containersDesc  = prometheus.NewDesc("kubelet_running_containers", "Number of containers currently running", []string{"container_state"}, nil)
	desiredPodsDesc = prometheus.NewDesc("kubelet_desired_pods", "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.", []string{"static"}, nil)
	activePodsDesc  = prometheus.NewDesc("kubelet_active_pods", "The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.", []string{"static"}, nil)
	cgroupDesc      = prometheus.NewDesc("kubelet_cgroup_version", "cgroup version on the hosts.", nil, nil)

	buildDesc     = prometheus.NewDesc("agent_build_info", "The agent's version. The value is always 1.", []string{"version"}, nil)
	problemsDesc  = prometheus.NewDesc("agent_manifest_problems", "Number of things that a person has to mend in the manifests (agent get problems lists them).", nil, nil)
	lastGoodDesc  = prometheus.NewDesc("agent_pods_on_last_good_version", "Number of pods that go on running as an earlier version of their manifest says, because the current one is not valid.", nil, nil)
	readyDesc     = prometheus.NewDesc("agent_pod_ready", "1 when the pod is ready, 0 otherwise.", []string{"namespace", "pod"}, nil)
	phaseDesc     = prometheus.NewDesc("agent_pod_phase", "The pod's phase. The value is always 1.", []string{"namespace", "pod", "phase"}, nil)
	restartsDesc  = prometheus.NewDesc("agent_container_restarts_total", "Number of times the container was started again.", []string{"namespace", "pod", "container"}, nil)
	waitingDesc   = prometheus.NewDesc("agent_container_waiting", "1 for a container that is waiting, with the reason.", []string{"namespace", "pod", "container", "reason"}, nil)
	imagesDesc    = prometheus.NewDesc("agent_images", "Number of images on the node.", nil, nil)
	pinnedDesc    = prometheus.NewDesc("agent_images_pinned", "Number of images on the node that a manifest or a person pins.", nil, nil)
	imageSizeDesc = prometheus.NewDesc("agent_image_bytes", "Bytes that images take in the content store, compressed.", nil, nil)
)

func (c *boardCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		nodeNameDesc, runningPodsDesc, containersDesc, desiredPodsDesc, activePodsDesc, cgroupDesc,
		buildDesc, problemsDesc, lastGoodDesc, readyDesc, phaseDesc, restartsDesc, waitingDesc,
	} {
		ch <- d
	}
	if c.config.Images != nil {
		ch <- imagesDesc
		ch <- pinnedDesc
		ch <- imageSizeDesc
	}
	describeDisk(ch)
}

func (c *boardCollector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	pods := c.config.Pods()
	send(nodeNameDesc, 1, c.config.NodeName)
	send(buildDesc, 1, c.config.Version)
	version := 1.0
	if cgroups.IsCgroup2UnifiedMode() {
		version = 2
	}
	send(cgroupDesc, version)
	c.collectProblems(send)
	c.collectImages(send)

	running, states := 0, map[string]int{}
	desired, active := map[bool]int{true: 0, false: 0}, map[bool]int{true: 0, false: 0}
	for i := range pods {
		p := &pods[i]
		if countStates(p.Status, states) {
			running++
		}
		if p.Deleted.IsZero() {
			desired[!p.FromAPI]++
		}
		if p.Status != nil && p.Status.Phase != v1.PodSucceeded && p.Status.Phase != v1.PodFailed {
			active[!p.FromAPI]++
		}
		collectPod(ch, send, p)
	}
	send(runningPodsDesc, float64(running))
	for state, n := range states {
		send(containersDesc, float64(n), state)
	}
	for _, static := range []bool{true, false} {
		send(desiredPodsDesc, float64(desired[static]), staticLabel(static))
		send(activePodsDesc, float64(active[static]), staticLabel(static))
	}
	collectDisk(send, pods, c.disk())
}

// countStates counts the pod's containers by state, in the kubelet's words, and says whether one of them runs.
func countStates(s *v1.PodStatus, states map[string]int) (running bool) {
	eachContainer(s, func(_ containerKind, c *v1.ContainerStatus) {
		switch {
		case c.State.Running != nil:
			running = true
			states["running"]++
		case c.State.Terminated != nil && c.State.Terminated.Reason == "ContainerStatusUnknown":
			states["unknown"]++
		case c.State.Terminated != nil:
			states["exited"]++
		case c.ContainerID != "":
			states["created"]++
		}
	})
	return running
}

func collectPod(ch chan<- prometheus.Metric, send func(*prometheus.Desc, float64, ...string), p *Pod) {
	if p.Status == nil {
		return
	}
	ready := 0.0
	for _, cond := range p.Status.Conditions {
		if cond.Type == v1.PodReady && cond.Status == v1.ConditionTrue {
			ready = 1
		}
	}
	send(readyDesc, ready, p.Key.Namespace, p.Key.Name)
	if p.Status.Phase != "" {
		send(phaseDesc, 1, p.Key.Namespace, p.Key.Name, string(p.Status.Phase))
	}
	eachContainer(p.Status, func(_ containerKind, c *v1.ContainerStatus) {
		ch <- prometheus.MustNewConstMetric(restartsDesc, prometheus.CounterValue, float64(c.RestartCount), p.Key.Namespace, p.Key.Name, c.Name)
		if w := c.State.Waiting; w != nil {
			send(waitingDesc, 1, p.Key.Namespace, p.Key.Name, c.Name, w.Reason)
		}
	})
}

func (c *boardCollector) collectProblems(send func(*prometheus.Desc, float64, ...string)) {
	var problems []manifests.Problem
	if c.config.Problems != nil {
		problems = c.config.Problems()
	}
	kept := map[manifests.Key]bool{}
	for _, p := range problems {
		if p.Kept {
			kept[p.Pod] = true
		}
	}
	send(problemsDesc, float64(len(problems)))
	send(lastGoodDesc, float64(len(kept)))
}

// imagesLimit is how long a scrape waits for the engine.
const imagesLimit = 5 * time.Second

func (c *boardCollector) collectImages(send func(*prometheus.Desc, float64, ...string)) {
	if c.config.Images == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), imagesLimit)
	defer cancel()
	sum, err := c.config.Images(ctx)
	if err != nil {
		c.config.Log.Debug().Err(err).Msg("images are left out of /metrics")
		return
	}
	send(imagesDesc, float64(sum.Count))
	send(pinnedDesc, float64(sum.Pinned))
	send(imageSizeDesc, float64(sum.Bytes))
}
