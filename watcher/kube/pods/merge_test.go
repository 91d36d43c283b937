package pods

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAStatusIsMergedAsTheKubeletDoes(t *testing.T) {
	at := func(n int64) metav1.Time { return metav1.Unix(1700000000+n, 0) }
	ready := func(s v1.ConditionStatus, n int64) v1.PodCondition {
		return v1.PodCondition{Type: v1.PodReady, Status: s, LastTransitionTime: at(n), ObservedGeneration: 1}
	}
	foreign := v1.PodCondition{Type: "example.com/gate", Status: v1.ConditionTrue}
	up := v1.ContainerStatus{Name: "a", ContainerID: "containerd://1", State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}
	ended := v1.ContainerStatus{Name: "a", ContainerID: "containerd://1", State: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: 3}}}
	began := at(50)
	for name, c := range map[string]struct {
		there v1.PodStatus
		says  v1.PodStatus
		gone  bool
		check func(s *v1.PodStatus) bool
	}{
		"conditions of others stay, and what did not change keeps its time": {
			there: v1.PodStatus{Conditions: []v1.PodCondition{foreign, ready(v1.ConditionTrue, 1)}},
			says:  v1.PodStatus{Conditions: []v1.PodCondition{{Type: "example.com/gate", Status: v1.ConditionFalse}, ready(v1.ConditionTrue, 9)}},
			check: func(s *v1.PodStatus) bool {
				return len(s.Conditions) == 2 && s.Conditions[0] == foreign && s.Conditions[1].LastTransitionTime == at(1)
			},
		},
		"a condition that changed has its own time": {
			there: v1.PodStatus{Conditions: []v1.PodCondition{ready(v1.ConditionFalse, 1)}},
			says:  v1.PodStatus{Conditions: []v1.PodCondition{ready(v1.ConditionTrue, 9)}},
			check: func(s *v1.PodStatus) bool { return s.Conditions[0].LastTransitionTime == at(9) },
		},
		"the start time never changes": {
			there: v1.PodStatus{StartTime: new(at(1))}, says: v1.PodStatus{StartTime: new(at(9))},
			check: func(s *v1.PodStatus) bool { return *s.StartTime == at(1) },
		},
		"a status without a start time has that of the first report": {
			check: func(s *v1.PodStatus) bool { return *s.StartTime == began },
		},
		"the generation never goes back": {
			there: v1.PodStatus{ObservedGeneration: 7}, says: v1.PodStatus{ObservedGeneration: 4},
			check: func(s *v1.PodStatus) bool { return s.ObservedGeneration == 7 },
		},
		"a final phase never goes back, and what its containers did stays known": {
			there: v1.PodStatus{Phase: v1.PodFailed, Reason: "Evicted", ContainerStatuses: []v1.ContainerStatus{ended}},
			says:  v1.PodStatus{Phase: v1.PodRunning, ContainerStatuses: []v1.ContainerStatus{{Name: "a"}}, Conditions: []v1.PodCondition{ready(v1.ConditionTrue, 9)}},
			check: func(s *v1.PodStatus) bool {
				return s.Phase == v1.PodFailed && s.Reason == "Evicted" && s.ContainerStatuses[0].State.Terminated.ExitCode == 3 && s.Conditions[0].Status == v1.ConditionFalse
			},
		},
		"a phase is not final while a container runs": {
			there: v1.PodStatus{Phase: v1.PodRunning},
			says:  v1.PodStatus{Phase: v1.PodFailed, Reason: "DeadlineExceeded", ContainerStatuses: []v1.ContainerStatus{up}},
			check: func(s *v1.PodStatus) bool { return s.Phase == v1.PodRunning && s.Reason == "" },
		},
		"a pod of which nothing is left has a final phase": {
			there: v1.PodStatus{Phase: v1.PodPending}, says: v1.PodStatus{Phase: v1.PodPending}, gone: true,
			check: func(s *v1.PodStatus) bool { return s.Phase == v1.PodFailed },
		},
		"a disruption is said only with the end": {
			there: v1.PodStatus{Phase: v1.PodRunning},
			says:  v1.PodStatus{Phase: v1.PodFailed, ContainerStatuses: []v1.ContainerStatus{up}, Conditions: []v1.PodCondition{{Type: v1.DisruptionTarget, Status: v1.ConditionTrue}}},
			check: func(s *v1.PodStatus) bool { return len(s.Conditions) == 0 },
		},
		"a container that nothing restarts stays ended": {
			there: v1.PodStatus{Phase: v1.PodPending, InitContainerStatuses: []v1.ContainerStatus{ended}},
			says:  v1.PodStatus{Phase: v1.PodPending, InitContainerStatuses: []v1.ContainerStatus{{Name: "a", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{}}}}},
			check: func(s *v1.PodStatus) bool { return s.InitContainerStatuses[0].State.Terminated != nil },
		},
		"a container that is restarted lives again": {
			there: v1.PodStatus{Phase: v1.PodRunning, ContainerStatuses: []v1.ContainerStatus{ended}},
			says:  v1.PodStatus{Phase: v1.PodRunning, ContainerStatuses: []v1.ContainerStatus{up}},
			check: func(s *v1.PodStatus) bool { return s.ContainerStatuses[0].State.Running != nil },
		},
		"long messages are cut": {
			says:  v1.PodStatus{ContainerStatuses: []v1.ContainerStatus{{Name: "a", State: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{Message: strings.Repeat("é", maxMessages)}}}}},
			check: func(s *v1.PodStatus) bool { return len(s.ContainerStatuses[0].State.Terminated.Message) <= maxMessages },
		},
	} {
		t.Run(name, func(t *testing.T) {
			there := apiPod("web", func(p *v1.Pod) {
				p.Status = c.there
				p.Spec.InitContainers = []v1.Container{{Name: "a", RestartPolicy: new(v1.ContainerRestartPolicyNever)}}
			})
			s := mergeStatus(there, report{status: &c.says, generation: 1, gone: c.gone, began: began})
			if !c.check(s) {
				t.Errorf("the status is %+v", s)
			}
			there.Status = *s
			if patch, changed, err := statusPatch(there, mergeStatus(there, report{status: &c.says, generation: 1, gone: c.gone, began: began})); changed || err != nil {
				t.Errorf("said again it is another status: %s %v", patch, err)
			}
		})
	}
}

func TestAPatchSaysNoMoreThanWhatDiffers(t *testing.T) {
	there := apiPod("web", func(p *v1.Pod) { p.Status = running("10.1.1.1") })
	next := there.Status.DeepCopy()
	next.PodIP, next.PodIPs = "10.1.1.2", []v1.PodIP{{IP: "10.1.1.2"}}
	next.StartTime.Time = next.StartTime.Add(time.Millisecond) // less than the API server keeps
	patch, changed, err := statusPatch(there, next)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	const want = `{"metadata":{"uid":"uid-web"},"status":{"$setElementOrder/podIPs":[{"ip":"10.1.1.2"}],"podIP":"10.1.1.2","podIPs":[{"ip":"10.1.1.2"},{"$patch":"delete","ip":"10.1.1.1"}]}}`
	if string(patch) != want {
		t.Errorf("the patch is %s", patch)
	}
}
