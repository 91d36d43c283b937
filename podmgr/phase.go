package podmgr

import v1 "k8s.io/api/core/v1"

// phase is the kubelet's getPhase.
func (f *facts) phase(s *v1.PodStatus) v1.PodPhase {
	if f.life.initFailed() {
		return v1.PodFailed
	}
	pending, running := f.initCounts(s)
	var waiting, stopped, succeeded, forGood int
	for i := range s.ContainerStatuses {
		c := &s.ContainerStatuses[i]
		ended := endOf(c)
		switch {
		case c.State.Running != nil:
			running++
		case ended == nil:
			waiting++
		default:
			stopped++
			if ended.ExitCode == 0 {
				succeeded++
			}
			if f.forGood(c.Name, ended.ExitCode) {
				forGood++
			}
		}
	}
	switch {
	case pending > 0 || waiting > 0 || running+stopped == 0:
		return v1.PodPending
	case running > 0 || forGood < stopped:
		return v1.PodRunning
	case succeeded == stopped:
		return v1.PodSucceeded
	default:
		return v1.PodFailed
	}
}

// initCounts is how many init containers hold the pod back from running, and how many sidecars run. Sidecars that end do
// not count.
func (f *facts) initCounts(s *v1.PodStatus) (pending, running int) {
	initialized := f.life.initialized()
	for i := range s.InitContainerStatuses {
		c := &s.InitContainerStatuses[i]
		switch {
		case initKind(&f.pod.Spec.InitContainers[i]) == sidecarRole:
			if c.State.Running != nil {
				running++
				if !*c.Started && !initialized {
					pending++
				}
			} else if endOf(c) == nil && !initialized {
				pending++
			}
		case c.State.Running != nil || endOf(c) == nil:
			pending++
		}
	}
	return pending, running
}

// endOf is how the container ended that a status shows as ended or as waiting for its restart; else nil.
func endOf(c *v1.ContainerStatus) *v1.ContainerStateTerminated {
	if c.State.Waiting != nil {
		return c.LastTerminationState.Terminated
	}
	return c.State.Terminated
}

// forGood says whether a main container that ended with a code has ended for good.
func (f *facts) forGood(name string, code int32) bool {
	spec, r := named(f.pod, name)
	if spec == nil {
		return true
	}
	if last := f.life.last(spec); last != nil && last.State.Ended() {
		return !restarts(f.pod, spec, r, last, f.mem.mark(last)) && !f.life.past(last)
	}
	return !restartsCode(f.pod, spec, code)
}
