package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
)

func waitingFor(reason string) *v1.ContainerStateWaiting {
	return &v1.ContainerStateWaiting{Reason: reason}
}

func newOff(t *testing.T, pods func() []Pod, problems ...manifests.Problem) *Metrics {
	t.Helper()
	m, err := New(Config{
		NodeName: "node-1", Pods: pods, Problems: func() []manifests.Problem { return problems }, Log: zerolog.Nop(),
	}, NewRecorder())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTheBoardIsShownAsItIs counts pods and containers by state, and shows what a person has to mend.
func TestTheBoardIsShownAsItIs(t *testing.T) {
	running, stuck, done, unknown := testPod("u1", hexID(1)), testPod("u2", ""), testPod("u3", hexID(3)), testPod("u4", hexID(4))
	stuck.Key.Name, done.Key.Name, unknown.Key.Name = "stuck", "done", "unknown"
	stuck.Status.Phase, stuck.Status.Conditions = v1.PodPending, nil
	stuck.Status.ContainerStatuses[0].State = v1.ContainerState{Waiting: waitingFor("ImagePullBackOff")}
	done.Status.Phase = v1.PodSucceeded
	done.Status.ContainerStatuses[0].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{Reason: "Completed"}}
	unknown.Object, unknown.Deleted = nil, time.Now()
	unknown.Status.ContainerStatuses[0].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{Reason: "ContainerStatusUnknown"}}
	m := newOff(t, func() []Pod { return []Pod{running, stuck, done, unknown} },
		manifests.Problem{Pod: running.Key, Kept: true}, manifests.Problem{Pod: running.Key, Kept: true}, manifests.Problem{Pod: stuck.Key})

	s := scrape(t, m.AgentHandler())
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"kubelet_node_name", map[string]string{"node": "node-1"}, 1},
		{"kubelet_running_pods", nil, 1},
		{"kubelet_running_containers", map[string]string{"container_state": "running"}, 1},
		{"kubelet_running_containers", map[string]string{"container_state": "exited"}, 1},
		{"kubelet_running_containers", map[string]string{"container_state": "unknown"}, 1},
		{"kubelet_desired_pods", map[string]string{"static": "true"}, 3},
		{"kubelet_active_pods", map[string]string{"static": "true"}, 3},
		{"kubelet_active_pods", map[string]string{"static": ""}, 0},
		{"agent_manifest_problems", nil, 3},
		{"agent_pods_on_last_good_version", nil, 1},
		{"agent_pod_ready", map[string]string{"pod": "web"}, 1},
		{"agent_pod_ready", map[string]string{"pod": "stuck"}, 0},
		{"agent_pod_phase", map[string]string{"pod": "done", "phase": "Succeeded"}, 1},
		{"agent_container_restarts_total", map[string]string{"pod": "web", "container": "main"}, 1},
		{"agent_container_waiting", map[string]string{"pod": "stuck", "reason": "ImagePullBackOff"}, 1},
		{"agent_pod_labels", map[string]string{"pod": "web", "label_app": "web", "label_app_kubernetes_io_part_of": "shop"}, 1},
	} {
		if have := s.value(t, c.name, c.labels); have != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, have, c.want)
		}
	}
}

// TestLabelsOfPodsAreBounded: a pod with hundreds of labels cannot fill the metrics.
func TestLabelsOfPodsAreBounded(t *testing.T) {
	p := testPod("u1", hexID(1))
	for i := range 500 {
		p.Object.Labels["label"+strings.Repeat("x", i%60)+string(rune('a'+i%26))] = "v"
	}
	s := scrape(t, newOff(t, func() []Pod { return []Pod{p} }).AgentHandler())
	if n := len(s["agent_pod_labels"].GetMetric()[0].GetLabel()); n != maxLabelKeys+3 {
		t.Errorf("%d labels, want %d and 3", n, maxLabelKeys)
	}
}

// TestWithCadvisorOffItsEndpointsSaySo and the others work.
func TestWithCadvisorOffItsEndpointsSaySo(t *testing.T) {
	m := newOff(t, func() []Pod { return nil })
	for path, c := range map[string]struct {
		h    http.Handler
		want int
	}{
		"/metrics":          {m.AgentHandler(), http.StatusOK},
		"/metrics/probes":   {m.ProbesHandler(), http.StatusOK},
		"/metrics/cadvisor": {m.CadvisorHandler(), http.StatusServiceUnavailable},
		"/metrics/resource": {m.ResourceHandler(), http.StatusServiceUnavailable},
		"/stats/summary":    {m.SummaryHandler(), http.StatusServiceUnavailable},
	} {
		r := httptest.NewRecorder()
		c.h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		if r.Code != c.want {
			t.Errorf("%s answers %d, want %d", path, r.Code, c.want)
		}
		if c.want != http.StatusOK && !strings.Contains(r.Body.String(), "--housekeeping-interval") {
			t.Errorf("%s does not say what to do: %s", path, r.Body)
		}
	}
}

// TestANilRecorderRecordsNothing: who has none need not ask.
func TestANilRecorderRecordsNothing(*testing.T) {
	var r *Recorder
	r.PodWorked("sync", 0)
	r.PodWorkerStarted(0)
	r.RuntimeOperation("x", 0, nil)
	r.ContainerStartFailed("container", "x")
	r.ImagePulled(0, 0, nil)
	r.Request("GET", "/", "readwrite", false)
	r.Probe(Probe{})
}
