package podmgr

import (
	"context"
	"slices"
	"time"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// step is an action that is being carried out by a goroutine of the worker.
type step struct {
	action
	pod    *manifests.Pod // the one wanted when it began
	began  time.Time
	cancel context.CancelFunc
	// hook and place are of a postStart or a preStop.
	hook  *v1.LifecycleHandler
	place health.Place
	// cancelled says that the worker no longer wants the step's outcome.
	cancelled bool
}

// flight is the set of steps that a worker has going on. Owner: the worker.
type flight []*step

// lane is what two steps of a pod must not work on at the same time.
type lane struct {
	kind   verb
	target string
}

func (a *action) lane() lane {
	switch a.verb {
	case pull, start, mark, refresh, resize:
		return lane{a.verb, a.target}
	case ensureSandbox, removeSandbox, forget:
		return lane{ensureSandbox, ""}
	default:
		return lane{stop, a.target}
	}
}

// sameInstance says whether both actions are about one instance of a container. An ID comes back when someone else
// removed the instance and it is started once more.
func (a *action) sameInstance(b *action) bool {
	return a.container != "" && a.uid == b.uid && a.container == b.container && a.attempt == b.attempt &&
		a.verb != pull && b.verb != pull
}

// admits says whether a may begin beside what is going on. The plan sees only what Observe shows; what is still being
// made is seen here.
func (f flight) admits(a *action) bool {
	for _, s := range f {
		switch {
		case s.lane() == a.lane():
			return false
		case a.verb == forget || a.verb == removeSandbox:
			if s.uid == a.uid {
				return false // a start or a pull may yet leave something behind
			}
		case a.verb == start || a.verb == ensureSandbox:
			if s.uid != a.uid && s.verb != pull || s.verb == removeSandbox || s.verb == forget || s.sameInstance(a) {
				return false // the old goes before the new comes
			}
		case a.verb == remove && s.verb == mark && s.sameInstance(a):
			return false
		case a.verb != pull && a.verb != mark:
			if s.verb == start && s.sameInstance(a) {
				return false // its start has not let go of it yet
			}
		}
	}
	return true
}

// has says whether a step of the verb goes on.
func (f flight) has(v verb) bool {
	for _, s := range f {
		if s.verb == v {
			return true
		}
	}
	return false
}

// creates says whether a step goes on that may yet bring something of the pod to life.
func (f flight) creates() bool {
	return slices.ContainsFunc(f, func(s *step) bool { return s.verb.creates() })
}

// supersede cancels what must not go on: the making of a pod that is not wanted, the hook of an instance that has ended
// or is to end, and a stop that would take longer than the one asked for now.
func (f flight) supersede(w want, have *Observed, d *decision, now time.Time) {
	for _, s := range f {
		if !s.cancelled && s.superseded(w, have, d, now) {
			s.cancelled = true
			s.cancel()
		}
	}
}

func (s *step) superseded(w want, have *Observed, d *decision, now time.Time) bool {
	if s.verb.creates() && s.uid != w.uid() {
		return true
	}
	if s.verb == postStart || s.verb == preStop {
		if c := have.container(s.target); c == nil || c.State != Running {
			return true
		}
	}
	for i := range d.actions {
		a := &d.actions[i]
		if a.target != s.target || a.verb != stop && a.verb != preStop {
			continue
		}
		switch s.verb {
		case postStart:
			return true
		case preStop, stop:
			if now.Add(a.grace).Before(s.began.Add(s.grace)) {
				return true
			}
		}
	}
	return false
}
