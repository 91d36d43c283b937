package podmgr

import (
	"slices"

	v1 "k8s.io/api/core/v1"
)

// conclude sets the phase that the containers alone do not tell: that of a pod that is removed or whose end was decided.
func (f *facts) conclude(s *v1.PodStatus) {
	if f.ended {
		f.closeStates(s)
	}
	api := &f.pod.Status
	switch {
	case final(api.Phase): // no pod leaves such a phase
		s.Phase, s.Reason, s.Message = api.Phase, api.Reason, api.Message
	case f.going && f.prev != nil && (!f.deleting || final(f.prev.Phase)):
		s.Phase, s.Reason, s.Message = f.prev.Phase, f.prev.Reason, f.prev.Message
	case f.ended:
		s.Phase = endPhase(s)
	case !f.going && f.have.eviction(f.pod.UID) != "":
		s.Phase, s.Reason, s.Message = v1.PodFailed, reasonEvicted, f.have.eviction(f.pod.UID)
	case !f.going && f.life.overdue():
		if runs(s) { // the kubelet shows no final phase while anything runs: others take the pod's place at that word
			return
		}
		s.Phase, s.Reason, s.Message = v1.PodFailed, reasonDeadline, messageDeadline
	case !f.going:
		if e, failed := f.mem.failed[stepKey{verb: ensureSandbox, uid: f.pod.UID}]; failed && e.rejected {
			s.Phase, s.Reason, s.Message = v1.PodFailed, e.reason, messageRejected+e.message
		}
	}
}

// runs says whether a container of any kind runs.
func runs(s *v1.PodStatus) bool {
	return slices.ContainsFunc(slices.Concat(s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses),
		func(c v1.ContainerStatus) bool { return c.State.Running != nil })
}

// endPhase is the phase of a deleted pod of which nothing runs any more: it succeeded when all its main containers did.
func endPhase(s *v1.PodStatus) v1.PodPhase {
	for i := range s.ContainerStatuses {
		if t := s.ContainerStatuses[i].State.Terminated; t == nil || t.ExitCode != 0 {
			return v1.PodFailed
		}
	}
	return v1.PodSucceeded
}

// closeStates has every container of a deleted pod say that it ended, as the kubelet's TerminatePod does: nobody knows
// whether one that is not seen to have ended did its work. What never had its turn keeps waiting.
func (f *facts) closeStates(s *v1.PodStatus) {
	initialized, reached := len(s.InitContainerStatuses) == 0, -1
	for i := range s.ContainerStatuses {
		initialized = initialized || began(&s.ContainerStatuses[i])
	}
	for i := range s.InitContainerStatuses {
		c := &s.InitContainerStatuses[i]
		if began(c) {
			reached = i
		}
		if t := c.State.Terminated; i == len(s.InitContainerStatuses)-1 && t != nil && t.ExitCode == 0 {
			initialized = initialized || initKind(&f.pod.Spec.InitContainers[i]) == initRole
		}
	}
	for i := range s.InitContainerStatuses[:reached+1] {
		closeState(&s.InitContainerStatuses[i])
	}
	for i := range s.EphemeralContainerStatuses {
		if c := &s.EphemeralContainerStatuses[i]; began(c) {
			closeState(c)
		}
	}
	if !initialized {
		return
	}
	for i := range s.ContainerStatuses {
		closeState(&s.ContainerStatuses[i])
	}
}

// began says whether a status shows that its container was ever started.
func began(c *v1.ContainerStatus) bool {
	return c.State.Waiting == nil || c.LastTerminationState.Terminated != nil
}

func closeState(c *v1.ContainerStatus) {
	if c.State.Terminated == nil {
		c.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
			ExitCode: 137, Reason: reasonUnknown, Message: messageUnknown,
		}}
	}
}

// shown is the status that a container was shown with before, nil when there is none.
func (f *facts) shown(name string) *v1.ContainerStatus {
	if f.prev == nil {
		return nil
	}
	for _, list := range [][]v1.ContainerStatus{f.prev.InitContainerStatuses, f.prev.ContainerStatuses, f.prev.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// departed is the status of a container that is gone, from the last one it had.
func departed(s v1.ContainerStatus) v1.ContainerStatus {
	if s.State.Running == nil {
		return s
	}
	s.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
		ExitCode: 137, Reason: reasonUnknown, Message: messageUnknown,
		StartedAt: s.State.Running.StartedAt, ContainerID: s.ContainerID,
	}}
	s.Ready, s.Started = false, new(false)
	return s
}
