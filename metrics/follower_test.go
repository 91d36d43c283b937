package metrics

import (
	"fmt"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// counts is what a Recorder counted of starts and ends; what is 0 is left out.
func counts(t *testing.T, r *Recorder) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	s := &r.starts
	reg.MustRegister(s.pods, s.containers, s.terminated, r.podStart, r.podStartTotal)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			put := func(suffix string, v float64) {
				if v != 0 {
					out[name+suffix] = v
				}
			}
			if f.GetType() == dto.MetricType_HISTOGRAM {
				put("", float64(m.GetHistogram().GetSampleCount()))
				put(" seconds", m.GetHistogram().GetSampleSum())
				continue
			}
			put("", m.GetCounter().GetValue())
		}
	}
	return out
}

// TestStartsAndEndsAreReadOffTheBoard: the counts after a series of boards.
func TestStartsAndEndsAreReadOffTheBoard(t *testing.T) {
	t0 := time.Unix(1_800_000_000, 0)
	at := func(seconds int) metav1.Time { return metav1.NewTime(t0.Add(time.Duration(seconds) * time.Second)) }
	id := func(n int) string { return fmt.Sprintf("containerd://%d", n) }
	pod := func(statuses ...v1.ContainerStatus) []Pod {
		start := at(1)
		return []Pod{{
			Key: manifests.Key{Namespace: "shop", Name: "web"}, Object: &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: v1.PodSpec{Containers: make([]v1.Container, len(statuses))}},
			Status: &v1.PodStatus{StartTime: &start, ContainerStatuses: statuses},
		}}
	}
	waiting := v1.ContainerStatus{Name: "main", State: v1.ContainerState{Waiting: waitingFor("ContainerCreating")}}
	running := func(n, restarts, started int) v1.ContainerStatus {
		return v1.ContainerStatus{Name: "main", ContainerID: id(n), RestartCount: int32(restarts), State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: at(started)}}}
	}
	ended := func(n, started, finished int, reason string, code int32) *v1.ContainerStateTerminated {
		return &v1.ContainerStateTerminated{ContainerID: id(n), StartedAt: at(started), FinishedAt: at(finished), Reason: reason, ExitCode: code}
	}
	after := func(c v1.ContainerStatus, last *v1.ContainerStateTerminated) v1.ContainerStatus {
		c.LastTerminationState.Terminated = last
		return c
	}
	named := func(name string, c v1.ContainerStatus) v1.ContainerStatus { c.Name = name; return c }
	const containers, pods, ends = "kubelet_started_containers_total container", "kubelet_started_pods_total", "kubelet_terminated_containers_total container "
	const start, total = "kubelet_pod_start_duration_seconds", "kubelet_pod_start_total_duration_seconds"

	for name, c := range map[string]struct {
		boards [][]Pod
		want   map[string]float64
	}{
		"a pod that starts is counted once, with the time from when it was first seen": {
			[][]Pod{pod(waiting), pod(running(1, 0, 3)), pod(running(1, 0, 3))},
			map[string]float64{containers: 1, pods: 1, start: 1, start + " seconds": 2, total: 1, total + " seconds": 2},
		},
		"a pod is started in full when its last container is": {
			[][]Pod{pod(running(1, 0, 3), named("side", waiting)), pod(running(1, 0, 3), named("side", running(2, 0, 9)))},
			map[string]float64{containers: 2, pods: 1, start: 1, start + " seconds": 2, total: 1, total + " seconds": 8},
		},
		"what ran before the agent did is adopted, not started": {
			[][]Pod{pod(running(1, 4, -100))},
			map[string]float64{},
		},
		"a restart is a start and an end": {
			[][]Pod{pod(running(1, 0, 3)), pod(after(running(2, 1, 9), ended(1, 3, 5, "Error", 1)))},
			map[string]float64{containers: 2, pods: 1, start: 1, start + " seconds": 2, total: 1, total + " seconds": 2, ends + "1 Error": 1},
		},
		"instances between two looks were started as well": {
			[][]Pod{pod(running(1, 0, 3)), pod(running(4, 3, 9))},
			map[string]float64{containers: 4, pods: 1, start: 1, start + " seconds": 2, total: 1, total + " seconds": 2},
		},
		"an end is counted once, in the current state and in the last one": {
			[][]Pod{
				pod(running(1, 0, 3)),
				pod(v1.ContainerStatus{Name: "main", ContainerID: id(1), State: v1.ContainerState{Terminated: ended(1, 3, 5, "OOMKilled", 137)}}),
				pod(after(waiting, ended(1, 3, 5, "OOMKilled", 137))),
			},
			map[string]float64{containers: 1, pods: 1, start: 1, start + " seconds": 2, total: 1, total + " seconds": 2, ends + "137 OOMKilled": 1},
		},
		"an end before the agent began is not counted": {
			[][]Pod{pod(after(running(2, 1, -50), ended(1, -90, -60, "Error", 1)))},
			map[string]float64{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := follower{recorder: NewRecorder(), since: t0, pods: map[string]*followed{}}
			for i, b := range c.boards {
				f.look(t0.Add(time.Duration(i)*time.Second), b)
			}
			if diff := cmp.Diff(c.want, counts(t, f.recorder)); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

// TestProbesOfAPodThatIsGoneAreForgotten, and those of its successor stay.
func TestProbesOfAPodThatIsGoneAreForgotten(t *testing.T) {
	old, successor := testPod("old", hexID(1)), testPod("new", hexID(2))
	m := newOff(t, func() []Pod { return nil })
	f := follower{recorder: m.recorder, since: time.Now(), pods: map[string]*followed{}}
	for _, uid := range []string{"old", "new"} {
		m.recorder.Probe(Probe{Pod: old.Key, UID: uid, Container: "main", Type: "Readiness", Result: ProbeSuccessful})
		m.recorder.Probe(Probe{Pod: old.Key, UID: uid, Container: "main", Type: "Readiness", Result: ProbeFailed})
	}
	f.look(time.Now(), []Pod{old, successor})
	f.look(time.Now(), []Pod{successor})
	s := scrape(t, m.ProbesHandler())
	if s.has("prober_probe_total", map[string]string{"pod_uid": "old"}) || !s.has("prober_probe_total", map[string]string{"pod_uid": "new"}) {
		t.Errorf("after the pod was replaced: %v", s["prober_probe_total"])
	}
	if have := s.value(t, "prober_probe_duration_seconds", map[string]string{"pod": "web"}); have != 2 {
		t.Errorf("%v durations, want 2: the failed ones have none, the successor keeps the series", have)
	}
	f.look(time.Now(), nil)
	if s := scrape(t, m.ProbesHandler()); len(s) != 0 {
		t.Errorf("after all pods are gone: %v", s)
	}
}
