package podmgr

import (
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of conditions, as the kubelet writes them.
const (
	reasonNoSandbox      = "PodSandboxNotReady"
	reasonNotInitialized = "ContainersNotInitialized"
	reasonNotReady       = "ContainersNotReady"
	reasonGates          = "ReadinessGatesNotReady"
	reasonCompleted      = "PodCompleted"
	reasonFailed         = "PodFailed"
	reasonAnew           = "RestartAllContainersStarted"
)

// conditions are the kubelet's, in its order, after those of others. Since when they hold is read off the containers.
func (f *facts) conditions(s *v1.PodStatus) []v1.PodCondition {
	began := f.life.began()
	containersReady, since := f.readiness(s, began)
	containersReady.Type = v1.ContainersReady
	ready := containersReady
	ready.Type = v1.PodReady
	if message := f.gates(); ready.Status == v1.ConditionTrue && message != "" {
		ready.Status, ready.Reason, ready.Message = v1.ConditionFalse, reasonGates, message
	}
	conditions := f.foreign()
	if c, holds := f.resizeCondition(); holds {
		conditions = append(conditions, f.since(c, time.Time{}))
	}
	conditions = append(
		conditions,
		f.sandboxReady(s, since),
		f.initialized(s, began),
		f.since(ready, since),
		f.since(containersReady, since),
		f.since(v1.PodCondition{Type: v1.PodScheduled, Status: v1.ConditionTrue}, began),
	)
	if couldBeginAnew(f.pod) {
		conditions = append(conditions, f.restarting(s, began, since))
	}
	return conditions
}

// couldBeginAnew says whether a rule of the pod can have all its containers restarted.
func couldBeginAnew(pod *v1.Pod) bool {
	for i := range size(pod) {
		spec, _ := nth(pod, i)
		for _, rule := range spec.RestartPolicyRules {
			if rule.Action == v1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

// restarting is the AllContainersRestarting condition: true until what ran before the pod began anew has ended.
func (f *facts) restarting(s *v1.PodStatus, began, ended time.Time) v1.PodCondition {
	c := v1.PodCondition{Type: v1.AllContainersRestarting, Status: v1.ConditionFalse}
	switch s.Phase {
	case v1.PodSucceeded:
		c.Reason = reasonCompleted
		return f.since(c, ended)
	case v1.PodFailed:
		c.Reason = reasonFailed
		return f.since(c, ended)
	}
	if f.life.anew.IsZero() {
		return f.since(c, began)
	}
	for i := range f.have.Containers {
		if o := &f.have.Containers[i]; o.UID == f.pod.UID && o.State == Running && f.life.past(o) {
			c.Status, c.Reason = v1.ConditionTrue, reasonAnew
			c.Message = "container exited with restart policy rule"
		}
	}
	return f.since(c, f.life.anew)
}

// foreign are the conditions of the pod that are not the kubelet's, such as those of readiness gates.
func (f *facts) foreign() (conditions []v1.PodCondition) {
	for _, c := range f.pod.Status.Conditions {
		switch c.Type {
		case v1.PodReadyToStartContainers, v1.PodInitialized, v1.PodReady, v1.ContainersReady, v1.PodScheduled,
			v1.AllContainersRestarting, v1.PodResizeInProgress:
		default:
			conditions = append(conditions, c)
		}
	}
	return conditions
}

// gates says which readiness gates hold the pod back; empty: none. A pod of a file has no condition of its own, so with
// a gate it never is ready.
func (f *facts) gates() string {
	var unready []string
	for _, g := range f.pod.Spec.ReadinessGates {
		status, found := v1.ConditionUnknown, false
		for _, c := range f.pod.Status.Conditions {
			if c.Type == g.ConditionType {
				status, found = c.Status, true
			}
		}
		switch {
		case !found:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		case status != v1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", g.ConditionType, status))
		}
	}
	return strings.Join(unready, ", ")
}

func (f *facts) sandboxReady(s *v1.PodStatus, readySince time.Time) v1.PodCondition {
	c := v1.PodCondition{Type: v1.PodReadyToStartContainers, Status: v1.ConditionFalse, Reason: reasonNoSandbox}
	sb := f.life.sb
	switch {
	case sb != nil && sb.State == SandboxReady:
		c.Status, c.Reason = v1.ConditionTrue, ""
		return f.since(c, sb.Created)
	case sb == nil:
		c.Message = "no pod sandbox exists"
	default:
		c.Message = "pod sandbox is not ready"
	}
	if s.Phase == v1.PodSucceeded || s.Phase == v1.PodFailed {
		return f.since(c, readySince)
	}
	return f.since(c, time.Time{})
}

// initialized is the Initialized condition: since the last init container succeeded, or, with sidecars only, since the
// pod began.
func (f *facts) initialized(s *v1.PodStatus, began time.Time) v1.PodCondition {
	c := v1.PodCondition{Type: v1.PodInitialized, Status: v1.ConditionTrue}
	since := began
	var incomplete []string
	for i := range s.InitContainerStatuses {
		cs := &s.InitContainerStatuses[i]
		spec := &f.pod.Spec.InitContainers[i]
		sidecar := initKind(spec) == sidecarRole
		if sidecar && !*cs.Started || !sidecar && !cs.Ready {
			incomplete = append(incomplete, cs.Name)
		}
		if last := f.life.last(spec); !sidecar && last != nil && last.State.Ended() {
			since = latest(since, last.Finished)
		}
	}
	switch {
	case s.Phase == v1.PodSucceeded:
		c.Reason = reasonCompleted
	case len(incomplete) > 0 && !f.mainStarted(s):
		c.Status, c.Reason = v1.ConditionFalse, reasonNotInitialized
		c.Message = fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(incomplete, " "))
		since = began
	}
	return f.since(c, since)
}

// mainStarted says whether a main container is shown to have run, so that the pod was initialized once.
func (f *facts) mainStarted(s *v1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		if st := &s.ContainerStatuses[i].State; st.Running != nil || st.Terminated != nil {
			return true
		}
	}
	return false
}

// since sets the transition time: the fact, or what was said before, or now.
func (f *facts) since(c v1.PodCondition, fact time.Time) v1.PodCondition {
	if fact.IsZero() && f.prev != nil {
		for _, p := range f.prev.Conditions {
			if p.Type == c.Type && p.Status == c.Status {
				fact = p.LastTransitionTime.Time
			}
		}
	}
	if fact.IsZero() {
		fact = f.now
	}
	c.LastTransitionTime, c.ObservedGeneration = metav1.Time{Time: wall(fact)}, f.pod.Generation
	return c
}

// readiness is the ContainersReady condition and since when it holds: when the last container became ready when all are,
// the first end among those that are not (or the first time that a probe said so, or, when none of them ever ran, when
// the pod began), the last end once the pod has completed.
func (f *facts) readiness(s *v1.PodStatus, began time.Time) (c v1.PodCondition, since time.Time) {
	c = v1.PodCondition{Status: v1.ConditionFalse}
	var lastReady, firstUnready, lastEnd time.Time
	var unready []string
	for i := range size(f.pod) {
		cs := nthStatus(s, i)
		if i < len(f.pod.Spec.InitContainers) && initKind(&f.pod.Spec.InitContainers[i]) == initRole {
			lastEnd = latest(lastEnd, f.endOf(cs.Name))
			continue
		}
		if cs.Ready {
			lastReady = latest(lastReady, f.readySince(cs))
			continue
		}
		unready = append(unready, cs.Name)
		at := f.endOf(cs.Name)
		lastEnd = latest(lastEnd, at)
		if cs.State.Running != nil {
			at = f.readySince(cs)
		}
		if !at.IsZero() && (firstUnready.IsZero() || at.Before(firstUnready)) {
			firstUnready = at
		}
	}
	switch {
	case s.Phase == v1.PodSucceeded:
		c.Reason = reasonCompleted
		return c, lastEnd
	case s.Phase == v1.PodFailed:
		c.Reason = reasonFailed
		return c, lastEnd
	case len(unready) > 0:
		c.Reason = reasonNotReady
		c.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
		if firstUnready.IsZero() {
			return c, began
		}
		return c, firstUnready
	default:
		c.Status = v1.ConditionTrue
		return c, lastReady
	}
}

// readySince is since when a running container is ready, or is not.
func (f *facts) readySince(cs *v1.ContainerStatus) time.Time {
	t := cs.State.Running.StartedAt.Time
	spec, _ := named(f.pod, cs.Name)
	if last := f.life.last(spec); last != nil && spec.ReadinessProbe != nil {
		return latest(t, f.mem.mark(last).Since)
	}
	return t
}

// endOf is when a container was last seen to have ended, or, of one that vanished, the latest that is known of it.
func (f *facts) endOf(name string) time.Time {
	last, before := f.have.newest(f.pod.UID, name)
	if last != nil && last.State == Created {
		last = before
	}
	if last == nil || !last.State.Ended() {
		return time.Time{}
	}
	return latest(last.Finished, latest(last.Started, last.Created))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
