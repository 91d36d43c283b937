package podmgr

import (
	"testing"
	"time"
)

func TestStepsOfOnePod(t *testing.T) {
	going := func(as ...action) (f flight) {
		for _, a := range as {
			f = append(f, &step{action: a, began: noon, cancel: func() {}})
		}
		return f
	}
	for _, c := range []struct {
		name  string
		going flight
		next  action
		may   bool
	}{
		{"nothing hinders the first", nil, action{verb: start, uid: "new", target: "a"}, true},
		{"a step is not begun twice", going(action{verb: start, uid: "new", target: "a"}), action{verb: start, uid: "new", target: "a"}, false},
		{"two containers start side by side", going(action{verb: start, uid: "new", target: "a"}), action{verb: start, uid: "new", target: "b"}, true},
		{"an image is pulled beside its sandbox", going(action{verb: ensureSandbox, uid: "new"}), action{verb: pull, uid: "new", target: "app"}, true},
		{"an image is pulled while the old pod stops", going(action{verb: stop, uid: "old", target: "x"}), action{verb: pull, uid: "new", target: "app"}, true},
		{"a container is removed after its stop has returned", going(action{verb: stop, target: "x"}), action{verb: remove, target: "x"}, false},
		{"a sandbox is not removed while a container is being started in it", going(action{verb: start, uid: "old", target: "a"}), action{verb: removeSandbox, uid: "old"}, false},
		{"nothing is forgotten while its image is being pulled", going(action{verb: pull, uid: "old", target: "app"}), action{verb: forget, uid: "old"}, false},
		{"the new sandbox waits for a start of the old pod that is being cancelled", going(action{verb: start, uid: "old", target: "a"}), action{verb: ensureSandbox, uid: "new"}, false},
		{"the new sandbox does not wait for a pull of the old pod", going(action{verb: pull, uid: "old", target: "app"}), action{verb: ensureSandbox, uid: "new"}, true},
		{"a container is prepared while its sandbox is made", going(action{verb: ensureSandbox, uid: "new"}), action{verb: start, uid: "new", target: "a"}, true},
		{"a container waits while its sandbox is being removed", going(action{verb: removeSandbox, uid: "new"}), action{verb: start, uid: "new", target: "a"}, false},
		{"an instance is left alone while it is being started", going(action{verb: start, uid: "new", target: "a", container: "a", attempt: 1}), action{verb: seal, uid: "new", target: "i", container: "a", attempt: 1}, false},
		{"an instance that comes back waits for the seal of the one before", going(action{verb: seal, uid: "new", target: "i", container: "a", attempt: 0}), action{verb: start, uid: "new", target: "a", container: "a", attempt: 0}, false},
		{"an instance is stopped after its preStop hook", going(action{verb: preStop, target: "x"}), action{verb: stop, target: "x"}, false},
		{"an instance is stopped after its postStart hook was given up", going(action{verb: postStart, target: "x"}), action{verb: stop, target: "x"}, false},
		{"an instance is marked while a hook of it runs", going(action{verb: preStop, target: "x"}), action{verb: mark, target: "x"}, true},
		{"an instance is marked in turn", going(action{verb: mark, target: "x"}), action{verb: mark, target: "x"}, false},
		{"an instance is not removed while it is marked", going(action{verb: mark, uid: "old", target: "x", container: "a"}), action{verb: remove, uid: "old", target: "x", container: "a"}, false},
		{"volumes are refreshed while a container starts", going(action{verb: start, uid: "new", target: "a"}), action{verb: refresh, uid: "new"}, true},
		{"nothing is forgotten while its volumes are refreshed", going(action{verb: refresh, uid: "old"}), action{verb: forget, uid: "old"}, false},
		{"an old instance is removed while the next is being started", going(action{verb: start, uid: "new", target: "a", container: "a", attempt: 2}), action{verb: remove, uid: "new", target: "i", container: "a", attempt: 0}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.going.admits(&c.next); got != c.may {
				t.Errorf("it may begin: %v", got)
			}
		})
	}
}

func TestSupersededSteps(t *testing.T) {
	alive := Observed{Containers: []Container{instance("new", "a", 0, func(c *Container) { c.ID = "x" })}}
	make := func(a action) *step { return &step{action: a, began: ago(10), cancel: func() {}} }
	for _, c := range []struct {
		name    string
		going   action
		want    want
		planned []action
		cancels bool
		have    Observed
	}{
		{"the start of a wanted pod goes on", action{verb: start, uid: "new"}, want{pod: wanted(always, "a")}, nil, false, Observed{}},
		{"the start of another version is cancelled", action{verb: start, uid: "old"}, want{pod: wanted(always, "a")}, nil, true, Observed{}},
		{"the pull of a pod that is not wanted is cancelled", action{verb: pull, uid: "new"}, want{}, nil, true, Observed{}},
		{"a stop goes on though nothing is wanted", action{verb: stop, uid: "new", target: "x", grace: 30 * time.Second}, want{}, nil, false, Observed{}},
		{"a stop goes on when the pod is wanted again", action{verb: stop, uid: "new", target: "x", grace: 30 * time.Second}, want{pod: wanted(always, "a")}, nil, false, Observed{}},
		{"a shorter grace supersedes a stop", action{verb: stop, target: "x", grace: 30 * time.Second}, want{}, []action{{verb: stop, target: "x", grace: 5 * time.Second}}, true, Observed{}},
		{"a shorter grace that would end later does not", action{verb: stop, target: "x", grace: 12 * time.Second}, want{}, []action{{verb: stop, target: "x", grace: 5 * time.Second}}, false, Observed{}},
		{"the postStart hook of a running instance goes on", action{verb: postStart, uid: "new", target: "x"}, want{pod: wanted(always, "a")}, nil, false, alive},
		{"the postStart hook of a pod that is not wanted is cancelled", action{verb: postStart, uid: "new", target: "x"}, want{}, nil, true, alive},
		{"the postStart hook of an instance that has to end is cancelled", action{verb: postStart, uid: "new", target: "x"}, want{pod: wanted(always, "a")}, []action{{verb: preStop, target: "x"}}, true, alive},
		{"the hook of an instance that has ended is cancelled", action{verb: preStop, uid: "new", target: "x", grace: time.Minute}, want{}, nil, true, Observed{}},
		{"a preStop hook goes on though nothing is wanted", action{verb: preStop, uid: "new", target: "x", grace: time.Minute}, want{}, []action{{verb: preStop, target: "x", grace: 50 * time.Second}}, false, alive},
		{"a shorter grace supersedes a preStop hook", action{verb: preStop, target: "x", grace: time.Minute}, want{}, []action{{verb: preStop, target: "x", grace: 5 * time.Second}}, true, alive},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flight{make(c.going)}
			f.supersede(c.want, &c.have, &decision{actions: c.planned}, noon)
			if f[0].cancelled != c.cancels {
				t.Errorf("it is cancelled: %v", f[0].cancelled)
			}
		})
	}
}
