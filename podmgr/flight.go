package podmgr

import (
	"context"
	"time"
)

// step is an action that is being carried out by a goroutine of the worker.
type step struct {
	action
	began  time.Time
	cancel context.CancelFunc
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
	case pull, start:
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
		case a.verb != pull:
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

// supersede cancels what must not go on: the making of a pod that is not wanted, and a stop that would take longer than
// the one asked for now.
func (f flight) supersede(w want, d *decision, now time.Time) {
	for _, s := range f {
		switch {
		case s.cancelled:
		case s.verb.creates() && s.uid != w.uid():
			s.cancelled = true
			s.cancel()
		case s.verb == stop:
			for i := range d.actions {
				a := &d.actions[i]
				if a.verb == stop && a.target == s.target && now.Add(a.grace).Before(s.began.Add(s.grace)) {
					s.cancelled = true
					s.cancel()
				}
			}
		}
	}
}
