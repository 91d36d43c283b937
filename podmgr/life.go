package podmgr

import (
	"time"

	v1 "k8s.io/api/core/v1"
)

// life is how far the wanted pod has come, read off the facts. Plan and status share it.
//
// A pod may begin anew without a new UID: in a new sandbox (a reboot), because a person asked, or because a container
// exited with a code for which a rule says RestartAllContainers. Instances from before are then of the past: the init
// containers run again, and what still runs has to end first.
type life struct {
	pod  *v1.Pod
	have *Observed
	mem  *memory
	now  time.Time
	sb   *Sandbox // of the pod, or nil
	// anew is when a rule last had the whole pod begin anew; zero: never.
	anew time.Time
}

// lifeOf reads the life of a pod.
func lifeOf(pod *v1.Pod, have *Observed, mem *memory, now time.Time) life {
	l := life{pod: pod, have: have, mem: mem, now: now, sb: have.sandbox(pod.UID)}
	for i := range have.Containers {
		// One that ended in the future did so before the clock was set back: nothing can be told from it.
		if c := &have.Containers[i]; l.triggers(c) && c.Finished.After(l.anew) && !c.Finished.After(now) {
			l.anew = c.Finished
		}
	}
	return l
}

// triggers says whether the exit of an instance had the whole pod begin anew.
func (l *life) triggers(c *Container) bool {
	if c.UID != l.pod.UID || c.State != Exited || unknownEnd(c) {
		return false
	}
	spec, _ := named(l.pod, c.Name)
	if spec == nil {
		return false
	}
	rule := ruleFor(spec, c.ExitCode)
	return rule != nil && rule.Action == v1.ContainerRestartRuleActionRestartAllContainers
}

// past says whether the pod has begun anew since an instance was made.
func (l *life) past(c *Container) bool {
	if _, r := named(l.pod, c.Name); r == ephemeralRole {
		return false
	}
	return l.mem.mark(c).Ended == EndedForRestart || !l.anew.IsZero() && (c.Created.Before(l.anew) || l.triggers(c))
}

// active says whether an instance counts for how far the pod has come. One that runs does even when its sandbox was made
// again under it.
func (l *life) active(c *Container) bool {
	return !l.past(c) && (c.State == Running || !outlived(c, l.sb))
}

// last is the latest instance of a container, nil when there is none.
func (l *life) last(spec *v1.Container) *Container {
	last, _ := l.have.newest(l.pod.UID, spec.Name)
	return last
}

// initialized says whether a main container has been started, so that the init containers are done.
func (l *life) initialized() bool {
	for i := range l.pod.Spec.Containers {
		if c := l.last(&l.pod.Spec.Containers[i]); c != nil && c.State != Created && l.active(c) {
			return true
		}
	}
	return false
}

// initDone says whether an init container has run to its end, or a sidecar has started, in this life of the pod.
func (l *life) initDone(spec *v1.Container, r role) bool {
	c := l.last(spec)
	if c == nil || !l.active(c) {
		return false
	}
	if r == sidecarRole {
		return started(spec, c, l.mem.mark(c))
	}
	return c.State.Ended() && !failed(c)
}

// reached is the index of the furthest init container of which an instance counts; -1: none does. Those before it are
// done, even when someone removed what is left of them.
func (l *life) reached() int {
	for i := len(l.pod.Spec.InitContainers) - 1; i >= 0; i-- {
		if c := l.last(&l.pod.Spec.InitContainers[i]); c != nil && l.active(c) {
			return i
		}
	}
	return -1
}

// ended says whether the pod has come to its end for good, and why; nothing of it is started any more.
func (l *life) ended() (why string, ended bool) {
	switch {
	case final(l.pod.Status.Phase):
		return "its status is final", true
	case l.have.eviction(l.pod.UID) != "":
		return "it uses more of the disk than it may", true
	case l.overdue():
		return "its active deadline has passed", true
	case l.completed():
		return "the pod has completed", true
	case l.initFailed():
		return "an init container has failed", true
	default:
		return "", false
	}
}

// final says whether a phase is one that a pod does not leave. A source that has one in a pod's status demands it: the
// API server knows that the pod has come to its end, or it is evicted.
func final(p v1.PodPhase) bool { return p == v1.PodSucceeded || p == v1.PodFailed }

// completed says whether every main container has ended for good.
func (l *life) completed() bool {
	for i := range l.pod.Spec.Containers {
		spec := &l.pod.Spec.Containers[i]
		c := l.last(spec)
		if c == nil || !c.State.Ended() || l.have.runs(l.pod.UID, spec.Name) ||
			restarts(l.pod, spec, mainRole, c, l.mem.mark(c)) || l.past(c) {
			return false
		}
	}
	return true
}

// initFailed says whether an init container has failed and is not to be restarted.
func (l *life) initFailed() bool {
	if len(l.pod.Spec.InitContainers) == 0 || l.initialized() {
		return false
	}
	for i := range l.pod.Spec.InitContainers {
		spec := &l.pod.Spec.InitContainers[i]
		c, r := l.last(spec), initKind(spec)
		if r == initRole && c != nil && c.State.Ended() && failed(c) && !l.past(c) &&
			!restarts(l.pod, spec, r, c, l.mem.mark(c)) {
			return true
		}
	}
	return false
}

// began is when the pod came to be, as its status says; zero when it has not.
func (l *life) began() (t time.Time) {
	if r, ok := l.mem.recalled[l.pod.UID]; ok && l.pod.Spec.ActiveDeadlineSeconds != nil && !r.since.IsZero() {
		return r.since
	}
	if l.sb != nil {
		return l.sb.Created
	}
	for i := range l.have.Containers {
		if c := &l.have.Containers[i]; c.UID == l.pod.UID && (t.IsZero() || c.Created.Before(t)) {
			t = c.Created
		}
	}
	return t
}

// deadline is when spec.activeDeadlineSeconds is over; zero when there is no such time. Once the agent has learnt when
// the pod began it measures by the monotonic clock: a box without a battery jumps by years when it hears the time.
func (l *life) deadline() time.Time {
	began := l.began()
	if l.pod.Spec.ActiveDeadlineSeconds == nil || began.IsZero() {
		return time.Time{}
	}
	active := time.Duration(*l.pod.Spec.ActiveDeadlineSeconds) * time.Second
	if r := l.mem.recalled[l.pod.UID]; began.Equal(r.since) {
		return r.learnt.Add(active - r.learnt.Sub(began))
	}
	return began.Add(active)
}

// overdue says whether the active deadline has passed before the pod had come to an end by itself.
func (l *life) overdue() bool {
	d := l.deadline()
	if d.IsZero() || d.After(l.now) {
		return false
	}
	return !l.completed() && !l.initFailed() || l.endedAfter(d)
}

// endedAfter says whether a container other than a sidecar ended at d or later.
func (l *life) endedAfter(d time.Time) bool {
	for i := range size(l.pod) {
		spec, r := nth(l.pod, i)
		if c := l.last(spec); r != sidecarRole && c != nil && c.State.Ended() && !c.Finished.Before(d) {
			return true
		}
	}
	return false
}
