package pods

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// maxMessages is how many bytes of termination messages a pod's status may hold, shared among its containers.
const maxMessages = 12 * 1024

// report is what there is to say of a pod.
type report struct {
	// status is the board's; nil when there is none, for a pod that only has to be removed.
	status *v1.PodStatus
	// generation is that of the pod that the status is about.
	generation int64
	// gone says that nothing of the pod is left, so that it is removed when it is being deleted.
	gone bool
	// began is when the pod was first reported on, for a status without a start time.
	began metav1.Time
}

// ours says whether a condition is the kubelet's (pkg/kubelet/types PodConditionByKubelet).
func ours(t v1.PodConditionType) bool {
	switch t {
	case v1.PodScheduled, v1.PodReady, v1.PodInitialized, v1.PodReadyToStartContainers, v1.ContainersReady,
		v1.PodResizeInProgress, v1.PodResizePending, v1.AllContainersRestarting:
		return true
	}
	return false
}

// mergeStatus is the status that the API server should have: what the node says, beside what others have said there. It
// is pure, and does what the kubelet's status manager does (updateStatusInternal, mergePodStatus, normalizeStatus).
func mergeStatus(there *v1.Pod, r report) *v1.PodStatus {
	old := &there.Status
	s := old.DeepCopy()
	if r.status != nil {
		s = r.status.DeepCopy()
	}
	s.Conditions = mergeConditions(old.Conditions, s, r)
	s.ResourceClaimStatuses = old.ResourceClaimStatuses
	s.ExtendedResourceClaimStatus = old.ExtendedResourceClaimStatus
	s.NominatedNodeName = old.NominatedNodeName
	if old.QOSClass != "" {
		s.QOSClass = old.QOSClass
	}
	switch {
	case old.StartTime != nil:
		s.StartTime = old.StartTime
	case s.StartTime == nil:
		s.StartTime = &r.began
	}
	if s.ObservedGeneration == 0 {
		s.ObservedGeneration = r.generation
	}
	s.ObservedGeneration = max(s.ObservedGeneration, old.ObservedGeneration)
	switch {
	case terminal(old.Phase): // no pod leaves such a phase
		s.Phase, s.Reason, s.Message = old.Phase, old.Reason, old.Message
		keepKnown(old.ContainerStatuses, s.ContainerStatuses)
		keepKnown(old.InitContainerStatuses, s.InitContainerStatuses)
	case r.gone && !terminal(s.Phase):
		s.Phase = v1.PodFailed
	case terminal(s.Phase) && !r.gone && runs(s): // not before its last container has ended
		s.Phase, s.Reason, s.Message = old.Phase, old.Reason, old.Message
	}
	keepEnded(&there.Spec, there.Spec.Containers, old.ContainerStatuses, s.ContainerStatuses)
	keepEnded(&there.Spec, there.Spec.InitContainers, old.InitContainerStatuses, s.InitContainerStatuses)
	if terminal(s.Phase) {
		unready(s)
	}
	normalise(there, s)
	return s
}

// mergeConditions joins the conditions of others, as they are there, and the node's own.
func mergeConditions(old []v1.PodCondition, s *v1.PodStatus, r report) []v1.PodCondition {
	var all []v1.PodCondition
	find := func(t v1.PodConditionType) *v1.PodCondition {
		if i := slices.IndexFunc(old, func(c v1.PodCondition) bool { return c.Type == t }); i >= 0 {
			return &old[i]
		}
		return nil
	}
	disrupted := slices.IndexFunc(s.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.DisruptionTarget })
	disrupts := disrupted >= 0 && terminal(s.Phase) && !runs(s)
	for _, c := range old {
		if !ours(c.Type) && !(disrupts && c.Type == v1.DisruptionTarget) {
			all = append(all, c)
		}
	}
	for _, c := range s.Conditions {
		if !ours(c.Type) && !(disrupts && c.Type == v1.DisruptionTarget) {
			continue
		}
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = r.generation
		}
		if o := find(c.Type); o != nil && o.Status == c.Status {
			c.LastTransitionTime = o.LastTransitionTime
		}
		all = append(all, c)
	}
	return all
}

// keepEnded keeps the end of containers that nothing restarts: the API server takes no status in which one of them lives
// again (validation: ValidateContainerStateTransition).
func keepEnded(pod *v1.PodSpec, specs []v1.Container, old, list []v1.ContainerStatus) {
	for i := range list {
		for _, o := range old {
			if t := o.State.Terminated; o.Name == list[i].Name && t != nil && list[i].State.Terminated == nil && !mayRestart(pod, specs, o.Name, t.ExitCode) {
				list[i] = o
			}
		}
	}
}

// mayRestart says whether a container that ended with a code may run again.
func mayRestart(pod *v1.PodSpec, specs []v1.Container, name string, code int32) bool {
	for _, all := range [][]v1.Container{pod.InitContainers, pod.Containers} {
		for i := range all {
			for _, rule := range all[i].RestartPolicyRules {
				if rule.Action == v1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	policy := pod.RestartPolicy
	for i := range specs {
		if c := &specs[i]; c.Name == name {
			if len(c.RestartPolicyRules) > 0 {
				return true
			}
			if c.RestartPolicy != nil {
				policy = v1.RestartPolicy(*c.RestartPolicy)
			}
		}
	}
	return policy == v1.RestartPolicyAlways || policy == v1.RestartPolicyOnFailure && code != 0
}

// keepKnown keeps what is known of containers that the node does not know any more.
func keepKnown(old, list []v1.ContainerStatus) {
	for i := range list {
		for _, o := range old {
			if o.Name == list[i].Name && o.ContainerID != "" && list[i].ContainerID == "" {
				list[i] = o
			}
		}
	}
}

func runs(s *v1.PodStatus) bool {
	up := func(c v1.ContainerStatus) bool { return c.State.Running != nil }
	return slices.ContainsFunc(s.ContainerStatuses, up) || slices.ContainsFunc(s.InitContainerStatuses, up) ||
		slices.ContainsFunc(s.EphemeralContainerStatuses, up)
}

// unready makes a pod that has come to its end say that it is not ready.
func unready(s *v1.PodStatus) {
	reason := "PodFailed"
	if s.Phase == v1.PodSucceeded {
		reason = "PodCompleted"
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if (c.Type == v1.PodReady || c.Type == v1.ContainersReady) && c.Status == v1.ConditionTrue {
			c.Status, c.Reason, c.Message, c.LastTransitionTime = v1.ConditionFalse, reason, "", metav1.Now()
		}
	}
}

// normalise brings a status into the form in which the API server keeps it: times in seconds, lists in order, messages
// within bounds.
func normalise(there *v1.Pod, s *v1.PodStatus) {
	n := len(there.Spec.Containers) + len(there.Spec.InitContainers) + len(there.Spec.EphemeralContainers)
	most := maxMessages / max(n, 1)
	for _, list := range [][]v1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for _, state := range []*v1.ContainerState{&list[i].State, &list[i].LastTerminationState} {
				if t := state.Terminated; t != nil && len(t.Message) > most {
					t.Message = strings.ToValidUTF8(t.Message[:most], "")
				}
			}
		}
	}
	byName := func(a, b v1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(s.ContainerStatuses, byName)
	slices.SortFunc(s.EphemeralContainerStatuses, byName)
	place := map[string]int{}
	for i := range there.Spec.InitContainers {
		place[there.Spec.InitContainers[i].Name] = i
	}
	slices.SortStableFunc(s.InitContainerStatuses, func(a, b v1.ContainerStatus) int { return place[a.Name] - place[b.Name] })
}

// statusPatch is the strategic merge patch that makes the status of a pod s, with the pod's UID as its condition; changed
// is false when it has it already.
func statusPatch(there *v1.Pod, s *v1.PodStatus) (patch []byte, changed bool, err error) {
	fail := func(err error) ([]byte, bool, error) {
		return nil, false, fmt.Errorf("making the patch of the status of pod %s: %w", keyOf(there), err)
	}
	old, err := json.Marshal(v1.Pod{Status: there.Status})
	if err != nil {
		return fail(err)
	}
	next, err := json.Marshal(v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: there.UID}, Status: *s})
	if err != nil {
		return fail(err)
	}
	if patch, err = strategicpatch.CreateTwoWayMergePatch(old, next, v1.Pod{}); err != nil {
		return fail(err)
	}
	return patch, !bytes.Equal(patch, onlyUID(there.UID)), nil
}

// onlyUID is a patch that changes nothing.
func onlyUID(uid types.UID) []byte { return fmt.Appendf(nil, `{"metadata":{"uid":%q}}`, uid) }
