package podmgr

import (
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditions are the kubelet's, in its order. Since when they hold is read off the containers.
func (f *facts) conditions(s *v1.PodStatus, sb *Sandbox) []v1.PodCondition {
	started := f.startTime(sb)
	ready, since := f.readiness(s, started)
	containersReady := ready
	containersReady.Type = v1.ContainersReady

	sandboxReady := v1.PodCondition{Type: v1.PodReadyToStartContainers, Status: v1.ConditionFalse}
	sandboxSince := time.Time{}
	if sb != nil && sb.State == SandboxReady {
		sandboxReady.Status, sandboxSince = v1.ConditionTrue, sb.Created
	} else if s.Phase == v1.PodSucceeded || s.Phase == v1.PodFailed {
		sandboxSince = since
	}
	initialized := v1.PodCondition{Type: v1.PodInitialized, Status: v1.ConditionTrue}
	if s.Phase == v1.PodSucceeded {
		initialized.Reason = ready.Reason
	}
	return []v1.PodCondition{
		f.since(sandboxReady, sandboxSince),
		f.since(initialized, started),
		f.since(ready, since),
		f.since(containersReady, since),
		f.since(v1.PodCondition{Type: v1.PodScheduled, Status: v1.ConditionTrue}, started),
	}
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
	c.LastTransitionTime = metav1.Time{Time: wall(fact)}
	return c
}

// readiness is the Ready condition and since when it holds: the last start when all containers are ready, the first end
// among those that are not (or, when none of them ever ran, when the pod began), the last end once the pod has completed.
func (f *facts) readiness(s *v1.PodStatus, began time.Time) (c v1.PodCondition, since time.Time) {
	c = v1.PodCondition{Type: v1.PodReady, Status: v1.ConditionFalse}
	var lastStart, firstEnd, lastEnd time.Time
	var unready []string
	for i := range s.ContainerStatuses {
		cs := &s.ContainerStatuses[i]
		if cs.Ready {
			lastStart = latest(lastStart, cs.State.Running.StartedAt.Time)
			continue
		}
		unready = append(unready, cs.Name)
		if ended := f.endOf(cs.Name); !ended.IsZero() {
			lastEnd = latest(lastEnd, ended)
			if firstEnd.IsZero() || ended.Before(firstEnd) {
				firstEnd = ended
			}
		}
	}
	switch {
	case s.Phase == v1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c, lastEnd
	case s.Phase == v1.PodFailed:
		c.Reason = "PodFailed"
		return c, lastEnd
	case len(unready) > 0:
		c.Reason = "ContainersNotReady"
		c.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
		if firstEnd.IsZero() {
			return c, began
		}
		return c, firstEnd
	default:
		c.Status = v1.ConditionTrue
		return c, lastStart
	}
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
