package podmgr

import (
	"time"

	"edgepod.dev/agent/manifests"
	"k8s.io/apimachinery/pkg/types"
)

// verb names a method of the Runtime, or a hook.
type verb int

const (
	pull verb = iota + 1
	ensureSandbox
	start
	postStart
	mark
	refresh
	resize
	preStop
	stop
	seal
	remove
	removeSandbox
	forget
)

func (v verb) String() string {
	return [...]string{
		"?", "pull", "ensure sandbox", "start", "postStart hook", "mark", "refresh", "resize", "preStop hook", "stop", "seal", "remove",
		"remove sandbox", "forget",
	}[v]
}

// creates says whether the verb makes something of the wanted pod; such a step is cancelled when the pod is no longer
// wanted.
func (v verb) creates() bool {
	switch v {
	case pull, ensureSandbox, start, postStart, refresh, resize:
		return true
	}
	return false
}

// action is one call of the Runtime, or one hook, that the plan asks for: plain data, with the reason.
type action struct {
	verb verb
	uid  types.UID
	// target is what the call is about: a reference (pull), a container name (start), a container ID (hooks, mark, stop,
	// seal, remove), a sandbox ID (remove sandbox), nothing (ensure sandbox, refresh, resize, forget: the UID says it).
	target string
	// container is the container's name where the action is about one.
	container string
	// attempt is that of the instance the action is about.
	attempt int
	backoff time.Duration // start: what the instance carries
	policy  PullPolicy    // pull
	mark    Mark          // mark
	// containers are those that a resize is about, beside the pod as a whole.
	containers []string
	grace      time.Duration // preStop, stop: how long it may take
	// budget is what is left, at the beginning of a preStop or a stop, of the whole time to end; all says that this time is
	// the whole pod's.
	budget time.Duration
	all    bool
	why    string
}

// key identifies the action's step for its failures.
func (a *action) key() stepKey { return stepKey{verb: a.verb, uid: a.uid, target: a.target} }

// stepKey identifies one kind of step on one target.
type stepKey struct {
	verb   verb
	uid    types.UID
	target string
}

// want is what the manager asks of a worker.
type want struct {
	pod    *manifests.Pod // nil: nothing is wanted
	source string
	// hold says that a source with precedence has not spoken yet: what runs under another UID may be what it wants, so
	// none of it is stopped.
	hold bool
}

// uid is that of the pod that has to run, empty when none has: nothing is wanted, or the API server is deleting it.
func (w want) uid() types.UID {
	if w.pod == nil || w.pod.Object.DeletionTimestamp != nil {
		return ""
	}
	return w.pod.UID()
}

// deleting says whether the API server deletes the pod: it is taken down, and its last status stays on the board.
func (w want) deleting() bool { return w.pod != nil && w.pod.Object.DeletionTimestamp != nil }

// decision is the plan's answer. The worker owns one and reuses it, so that planning for a pod with nothing to do
// allocates nothing.
type decision struct {
	// actions may all run at the same time, as far as may() lets them.
	actions []action
	// wake is when to plan again although nothing happened; zero: no such time.
	wake time.Time
}

func (d *decision) reset() {
	clear(d.actions) // let go of the strings
	d.actions = d.actions[:0]
	d.wake = time.Time{}
}

// wakeAt makes the worker plan again at t, or earlier.
func (d *decision) wakeAt(t time.Time) {
	if d.wake.IsZero() || t.Before(d.wake) {
		d.wake = t
	}
}

// add asks for an action, unless its last failure says to wait.
func (d *decision) add(a action, mem *memory, now time.Time) {
	if f, failed := mem.failed[a.key()]; failed && f.attempt == a.attempt && f.retry.After(now) {
		d.wakeAt(f.retry)
		return
	}
	d.actions = append(d.actions, a)
}

// has says whether an action of the verb is asked for.
func (d *decision) has(v verb) bool {
	for i := range d.actions {
		if d.actions[i].verb == v {
			return true
		}
	}
	return false
}

// pulls says whether a pull of ref is already asked for.
func (d *decision) pulls(ref string) bool {
	for i := range d.actions {
		if d.actions[i].verb == pull && d.actions[i].target == ref {
			return true
		}
	}
	return false
}
