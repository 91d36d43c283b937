package podmgr

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// noon is the time of every plan in these tests; times of facts are said in seconds before it.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func ago(seconds int) time.Time { return noon.Add(-time.Duration(seconds) * time.Second) }

// wanted makes the pod with UID new and the containers named.
func wanted(policy v1.RestartPolicy, containers ...string) *manifests.Pod {
	o := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "new"}}
	o.Spec.RestartPolicy = policy
	for _, name := range containers {
		o.Spec.Containers = append(o.Spec.Containers, v1.Container{Name: name, Image: "app", ImagePullPolicy: v1.PullAlways})
	}
	return &manifests.Pod{Object: o}
}

func sandboxed(uid string, state SandboxState) []Sandbox {
	return []Sandbox{{ID: uid + "_sandbox", UID: types.UID(uid), State: state, Created: ago(5000), IPs: []string{"10.88.0.2"}}}
}

// instance makes an instance that was created 4000 s ago; change says how it differs from a running one.
func instance(uid, name string, attempt int, change ...func(*Container)) Container {
	c := Container{
		ID: fmt.Sprintf("%s_%s_%d", uid, name, attempt), UID: types.UID(uid), Name: name, Attempt: attempt, State: Running,
		Image: "app", ImageID: "sha256:app", Created: ago(4000), Started: ago(4000), Grace: 30 * time.Second,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// exited says that the instance ended some seconds ago, after it had run for a while, sealed.
func exited(code int32, ran, since int) func(*Container) {
	return func(c *Container) {
		c.State, c.Sealed, c.ExitCode, c.Finished, c.Started = Exited, true, code, ago(since), ago(since+ran)
		c.Created = c.Started
		if c.Reason = "Error"; code == 0 {
			c.Reason = "Completed"
		}
	}
}

func unsealed(c *Container) { c.Sealed = false }

func carries(seconds int) func(*Container) {
	return func(c *Container) { c.Backoff = time.Duration(seconds) * time.Second }
}

func created(c *Container) { c.State, c.Started = Created, time.Time{} }

func vanished(c *Container) { c.State, c.Sealed, c.ExitCode, c.Reason = Unknown, true, 255, "ContainerStatusUnknown" }

// createdAgo moves the instance's creation and start.
func createdAgo(seconds int) func(*Container) {
	return func(c *Container) { c.Created, c.Started = ago(seconds), ago(seconds) }
}

// pulled is a memory in which the image of each container is here for attempt n.
func pulled(n int, containers ...string) memory {
	m := memory{uid: "new"}
	for _, c := range containers {
		m.pulledFor(c, n)
	}
	return m
}

// failedBefore is m with a failure of a step, so many seconds ago.
func failedBefore(m memory, v verb, target string, attempt, count, since int, err error) memory {
	for range count {
		m.settle(action{verb: v, uid: "new", target: target, container: target, attempt: attempt}, err, ago(since))
	}
	return m
}

func (a action) String() string {
	s := a.verb.String()
	switch a.verb {
	case start:
		s += fmt.Sprintf(" %s#%d", a.target, a.attempt)
		if a.backoff > 0 {
			s += fmt.Sprintf(" carrying %v", a.backoff)
		}
	case stop:
		s += fmt.Sprintf(" %s within %v", a.target, a.grace)
	case ensureSandbox, forget:
		s += " " + string(a.uid)
	default:
		s += " " + a.target
	}
	return s
}

const (
	always    = v1.RestartPolicyAlways
	onFailure = v1.RestartPolicyOnFailure
	never     = v1.RestartPolicyNever
)

func TestPlan(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	fresh := []types.UID{"new"}
	broken := fmt.Errorf("broken")
	deleted := wanted(always, "a")
	deleted.Object.DeletionTimestamp = &metav1.Time{Time: noon}
	deleted.Object.DeletionGracePeriodSeconds = new(int64(3))

	for _, c := range []struct {
		name string
		want want
		have Observed
		mem  memory
		do   []string
		wake time.Duration // after noon; 0: none
	}{
		// The first start.
		{
			name: "a pod that does not exist gets its sandbox and its image at once",
			want: want{pod: wanted(always, "a")},
			do:   []string{"ensure sandbox new", "pull app"},
		},
		{
			name: "an image that several containers use is pulled once",
			want: want{pod: wanted(always, "a", "b", "c")},
			do:   []string{"ensure sandbox new", "pull app"},
		},
		{
			name: "a container whose image is here waits for the sandbox",
			want: want{pod: wanted(always, "a")},
			have: Observed{Remains: fresh},
			mem:  pulled(0, "a"),
			do:   []string{"ensure sandbox new"},
		},
		{
			name: "all containers start once the sandbox and the image are there",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Remains: fresh},
			mem:  pulled(0, "a", "b"),
			do:   []string{"start a#0", "start b#0"},
		},
		{
			name: "a container that runs does not hinder another",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}},
			mem:  pulled(0, "b"),
			do:   []string{"start b#0"},
		},
		{
			name: "an instance that someone else removed is counted on from",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  memory{uid: "new", ran: map[string]int{"a": 3}, pulled: map[string]int{"a": 4}},
			do:   []string{"start a#3"},
		},
		{
			name: "a pod that runs is left alone",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "b", 3)}, Remains: fresh},
		},
		{
			name: "a start that was cut off is repeated for the same attempt",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 2, created, carries(20))}},
			do:   []string{"start a#2 carrying 20s"},
		},
		{
			name: "a start that was cut off waits for the sandbox",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("new", SandboxRepair), Containers: []Container{instance("new", "a", 0, created)}},
			do:   []string{"ensure sandbox new"},
		},
		{
			name: "what was created for an earlier sandbox is removed first",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, createdAgo(6000), created)}},
			do:   []string{"remove new_a_0"},
		},

		// Failures.
		{
			name: "a failed sandbox waits, its image does not",
			want: want{pod: wanted(always, "a")},
			mem:  failedBefore(memory{}, ensureSandbox, "", 0, 1, 0, broken),
			do:   []string{"pull app"},
			wake: time.Second,
		},
		{
			name: "a failed sandbox is tried again in time",
			want: want{pod: wanted(always, "a")},
			mem:  failedBefore(pulled(0, "a"), ensureSandbox, "", 0, 6, 30, broken),
			do:   []string{"ensure sandbox new"},
		},
		{
			name: "a failed sandbox waits for at most 30 s",
			want: want{pod: wanted(always, "a")},
			mem:  failedBefore(pulled(0, "a"), ensureSandbox, "", 0, 50, 1, broken),
			wake: 29 * time.Second,
		},
		{
			name: "a failed pull first shows its error",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 1, 0, broken),
			wake: errShown,
		},
		{
			name: "a failed pull waits",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 2, 5, broken),
			wake: 15 * time.Second,
		},
		{
			name: "a failed pull waits for at most 300 s",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 60, 10, broken),
			wake: 290 * time.Second,
		},
		{
			name: "an image that must not be pulled is looked for again soon",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 60, 5, &ReasonError{Reason: "ErrImageNeverPull", Err: broken}),
			wake: 5 * time.Second,
		},
		{
			name: "after a failed start the image is asked for again",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(pulled(0, "a"), start, "a", 0, 1, 0, broken),
			do:   []string{"pull app"},
		},
		{
			name: "a failed start waits",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem: func() memory {
				m := failedBefore(pulled(0, "a"), start, "a", 0, 3, 1, broken)
				m.pulledFor("a", 0)
				return m
			}(),
			wake: 3 * time.Second,
		},
		{
			name: "a failed start of one attempt does not hold back the next",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(128, 0, 1))}},
			mem: func() memory {
				m := failedBefore(memory{uid: "new"}, start, "a", 0, 3, 1, broken)
				m.pulledFor("a", 1)
				return m
			}(),
			do: []string{"start a#1 carrying 10s"},
		},

		// Restarts.
		{
			name: "an exit is sealed while the image of the next instance is asked for",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 5, 1), unsealed)}},
			do:   []string{"seal new_a_0", "pull app"},
		},
		{
			name: "nothing starts beside an instance that is not sealed",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 5, 1), unsealed)}},
			mem:  pulled(1, "a"),
			do:   []string{"seal new_a_0"},
		},
		{
			name: "the first restart is immediate, and what it starts carries 10 s",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(0, 5, 0))}},
			mem:  pulled(1, "a"),
			do:   []string{"start a#1 carrying 10s"},
		},
		{
			name: "a restart waits as long as the ended instance carries",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, exited(1, 5, 15), carries(40))}},
			mem:  pulled(4, "a"),
			wake: 25 * time.Second,
		},
		{
			name: "after the wait the next instance carries twice as much",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, exited(1, 5, 40), carries(40))}},
			mem:  pulled(4, "a"),
			do:   []string{"start a#4 carrying 1m20s"},
		},
		{
			name: "no instance carries more than 300 s",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 9, exited(1, 5, 300), carries(300))}},
			mem:  pulled(10, "a"),
			do:   []string{"start a#10 carrying 5m0s"},
		},
		{
			name: "a run of 600 s starts the sequence over",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 9, exited(1, 600, 0), carries(300))}},
			mem:  pulled(10, "a"),
			do:   []string{"start a#10 carrying 10s"},
		},
		{
			name: "one that vanished in this sandbox waits from its start on",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, createdAgo(15), vanished, carries(40))}},
			mem:  pulled(4, "a"),
			wake: 25 * time.Second,
		},
		{
			name: "one that vanished with an earlier sandbox starts at once",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, createdAgo(6000), vanished, carries(300))}},
			mem:  pulled(4, "a"),
			do:   []string{"start a#4 carrying 10s"},
		},
		{
			name: "an end in the future waits no longer than the back-off",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, exited(1, 5, -1000), carries(40))}},
			mem:  memory{ended: map[string]time.Time{"new_a_3": ago(10)}},
			wake: 30 * time.Second,
		},
		{
			name: "OnFailure restarts a failure",
			want: want{pod: wanted(onFailure, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(2, 5, 0))}},
			mem:  pulled(1, "a"),
			do:   []string{"start a#1 carrying 10s"},
		},
		{
			name: "OnFailure restarts what vanished",
			want: want{pod: wanted(onFailure, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, vanished)}},
			mem:  pulled(1, "a"),
			do:   []string{"start a#1 carrying 10s"},
		},
		{
			name: "OnFailure does not restart a success while another container runs",
			want: want{pod: wanted(onFailure, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(0, 5, 0)), instance("new", "b", 0)}},
		},
		{
			name: "Never starts what never ran, even after a reboot",
			want: want{pod: wanted(never, "a", "b")},
			have: Observed{Containers: []Container{instance("new", "a", 0, vanished)}},
			do:   []string{"ensure sandbox new", "pull app"},
		},

		// Completion.
		{
			name: "a completed pod is sealed before its sandbox goes",
			want: want{pod: wanted(never, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(0, 5, 0), unsealed), instance("new", "b", 0, exited(1, 5, 0))}},
			do:   []string{"seal new_a_0"},
		},
		{
			name: "a completed pod gives up its sandbox",
			want: want{pod: wanted(never, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 5, 0))}, Remains: fresh},
			do:   []string{"remove sandbox new_sandbox"},
		},
		{
			name: "a completed pod is left alone",
			want: want{pod: wanted(onFailure, "a")},
			have: Observed{Containers: []Container{instance("new", "a", 0, exited(0, 5, 0))}, Remains: fresh},
		},
		{
			name: "a Never pod that a reboot interrupted has completed",
			want: want{pod: wanted(never, "a")},
			have: Observed{Sandboxes: sandboxed("new", SandboxLost), Containers: []Container{instance("new", "a", 0, vanished, unsealed)}},
			do:   []string{"seal new_a_0"},
		},

		// The sandbox.
		{
			name: "a broken sandbox is mended while its containers run on and none is started",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: sandboxed("new", SandboxRepair), Containers: []Container{instance("new", "a", 0)}},
			mem:  pulled(0, "b"),
			do:   []string{"ensure sandbox new"},
		},
		{
			name: "of a lost sandbox the ended are sealed, the running stopped and the created removed",
			want: want{pod: wanted(always, "a", "b", "c")},
			have: Observed{Sandboxes: sandboxed("new", SandboxLost), Containers: []Container{
				instance("new", "a", 0, vanished, unsealed), instance("new", "b", 0), instance("new", "c", 0, created),
			}},
			mem: pulled(1, "a"),
			do:  []string{"seal new_a_0", "stop new_b_0 within 30s", "remove new_c_0"},
		},
		{
			name: "a lost sandbox goes when nothing lives in it",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("new", SandboxLost), Containers: []Container{instance("new", "a", 0, vanished)}},
			mem:  pulled(1, "a"),
			do:   []string{"remove sandbox new_sandbox"},
		},
		{
			name: "a lost sandbox is made anew",
			want: want{pod: wanted(always, "a")},
			have: Observed{Containers: []Container{instance("new", "a", 0, vanished)}, Remains: fresh},
			mem:  pulled(1, "a"),
			do:   []string{"ensure sandbox new"},
		},

		// Another version, or none.
		{
			name: "the running containers of another version are stopped, all at once, while the new image is fetched",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Containers: []Container{instance("old", "a", 0), instance("old", "b", 1)}, Remains: []types.UID{"old"}},
			do:   []string{"stop old_a_0 within 30s", "stop old_b_1 within 30s", "pull app"},
		},
		{
			name: "what has ended of another version is removed unsealed",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Containers: []Container{instance("old", "a", 0, exited(0, 1, 1), unsealed), instance("old", "b", 1)}},
			mem:  pulled(0, "a"),
			do:   []string{"remove old_a_0", "stop old_b_1 within 30s"},
		},
		{
			name: "the sandbox of another version goes after its containers",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Remains: []types.UID{"old"}},
			mem:  pulled(0, "a"),
			do:   []string{"remove sandbox old_sandbox"},
		},
		{
			name: "what remains of another version goes last, and nothing new comes before",
			want: want{pod: wanted(always, "a")},
			have: Observed{Remains: []types.UID{"old"}},
			mem:  pulled(0, "a"),
			do:   []string{"forget old"},
		},
		{
			name: "nothing new starts beside another version even if its sandbox is ready",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: append(sandboxed("old", SandboxReady), ready...), Containers: []Container{instance("old", "a", 0)}},
			mem:  pulled(0, "a"),
			do:   []string{"stop old_a_0 within 30s"},
		},
		{
			name: "versions that are not wanted go independently of each other",
			want: want{},
			have: Observed{
				Sandboxes:  append(sandboxed("x", SandboxReady), sandboxed("y", SandboxLost)...),
				Containers: []Container{instance("x", "a", 0)}, Remains: []types.UID{"x", "y", "z"},
			},
			do: []string{"stop x_a_0 within 30s", "remove sandbox y_sandbox", "forget z"},
		},
		{
			name: "what was only created is removed without a stop",
			want: want{},
			have: Observed{Containers: []Container{instance("old", "a", 0, created)}},
			do:   []string{"remove old_a_0"},
		},
		{
			name: "while a source with precedence has not spoken, what runs goes on and nothing comes beside it",
			want: want{pod: wanted(always, "a"), hold: true},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Containers: []Container{instance("old", "a", 0)}, Remains: []types.UID{"old", "z"}},
			mem:  pulled(0, "a"),
		},
		{
			name: "a pod that the API server deletes has the grace it gives",
			want: want{pod: deleted},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}},
			do:   []string{"stop new_a_0 within 3s"},
		},
		{
			name: "a stop that failed is repeated after a while",
			want: want{pod: wanted(always, "a")},
			have: Observed{Containers: []Container{instance("new", "x", 0)}, Sandboxes: ready},
			mem: func() memory {
				m := pulled(0, "a")
				m.settle(action{verb: stop, uid: "new", target: "new_x_0"}, broken, noon)
				return m
			}(),
			do:   []string{"start a#0"},
			wake: 200 * time.Millisecond,
		},

		// Order among instances.
		{
			name: "a container that the spec does not name is stopped",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "x", 0)}},
			do:   []string{"stop new_x_0 within 30s"},
		},
		{
			name: "an instance that runs beside a newer one is stopped before anything starts",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "a", 1, exited(1, 1, 1))}},
			mem:  pulled(2, "a"),
			do:   []string{"stop new_a_0 within 30s"},
		},
		{
			name: "old instances are removed, all but the last two",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(1, 1, 99)), instance("new", "a", 1, exited(1, 1, 88)),
				instance("new", "a", 2, exited(1, 1, 77)), instance("new", "a", 3),
			}},
			do: []string{"remove new_a_0", "remove new_a_1"},
		},
		{
			name: "an old instance that never ran is removed",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, created), instance("new", "a", 1)}},
			do:   []string{"remove new_a_0"},
		},
		{
			name: "old instances do not delay a start",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(1, 1, 99)), instance("new", "a", 1, exited(1, 1, 88)), instance("new", "a", 2),
			}},
			mem: pulled(0, "b"),
			do:  []string{"start b#0"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decision
			plan(c.want, &c.have, &c.mem, noon, &d)
			var do []string
			for _, a := range d.actions {
				do = append(do, a.String())
				if a.why == "" {
					t.Errorf("%s has no reason", a)
				}
			}
			if diff := cmp.Diff(c.do, do); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			var wake time.Time
			if c.wake != 0 {
				wake = noon.Add(c.wake)
			}
			if !d.wake.Equal(wake) {
				t.Errorf("it wakes at %v, want %v", d.wake, wake)
			}
		})
	}
}

// steady is a pod of three containers that runs, one of them restarted, with nothing to do.
func steady() (want, Observed, memory) {
	have := Observed{
		Sandboxes: sandboxed("new", SandboxReady),
		Containers: []Container{
			instance("new", "a", 0), instance("new", "b", 0, exited(1, 9, 90)), instance("new", "b", 1), instance("new", "c", 0),
		},
		Remains: []types.UID{"new"},
	}
	mem := pulled(0, "a", "b", "c")
	mem.sees(&have, noon)
	return want{pod: wanted(always, "a", "b", "c")}, have, mem
}

func TestPlanningForAPodWithNothingToDoAllocatesNothing(t *testing.T) {
	w, have, mem := steady()
	var d decision
	if n := testing.AllocsPerRun(100, func() {
		mem.wants(w.uid())
		mem.sees(&have, noon)
		plan(w, &have, &mem, noon, &d)
	}); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
	if len(d.actions) != 0 {
		t.Errorf("it wants to %v", d.actions)
	}
}

func BenchmarkPlanWithNothingToDo(b *testing.B) {
	w, have, mem := steady()
	var d decision
	b.ReportAllocs()
	for b.Loop() {
		mem.wants(w.uid())
		mem.sees(&have, noon)
		plan(w, &have, &mem, noon, &d)
	}
}

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
		{"a container waits for its sandbox", going(action{verb: ensureSandbox, uid: "new"}), action{verb: start, uid: "new", target: "a"}, false},
		{"a container waits while its sandbox is being removed", going(action{verb: removeSandbox, uid: "new"}), action{verb: start, uid: "new", target: "a"}, false},
		{"an instance is left alone while it is being started", going(action{verb: start, uid: "new", target: "a", container: "a", attempt: 1}), action{verb: seal, uid: "new", target: "i", container: "a", attempt: 1}, false},
		{"an instance that comes back waits for the seal of the one before", going(action{verb: seal, uid: "new", target: "i", container: "a", attempt: 0}), action{verb: start, uid: "new", target: "a", container: "a", attempt: 0}, false},
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
	make := func(a action) *step { return &step{action: a, began: ago(10), cancel: func() {}} }
	for _, c := range []struct {
		name    string
		going   action
		want    want
		planned []action
		cancels bool
	}{
		{"the start of a wanted pod goes on", action{verb: start, uid: "new"}, want{pod: wanted(always, "a")}, nil, false},
		{"the start of another version is cancelled", action{verb: start, uid: "old"}, want{pod: wanted(always, "a")}, nil, true},
		{"the pull of a pod that is not wanted is cancelled", action{verb: pull, uid: "new"}, want{}, nil, true},
		{"a stop goes on though nothing is wanted", action{verb: stop, uid: "new", target: "x", grace: 30 * time.Second}, want{}, nil, false},
		{"a stop goes on when the pod is wanted again", action{verb: stop, uid: "new", target: "x", grace: 30 * time.Second}, want{pod: wanted(always, "a")}, nil, false},
		{"a shorter grace supersedes a stop", action{verb: stop, target: "x", grace: 30 * time.Second}, want{}, []action{{verb: stop, target: "x", grace: 5 * time.Second}}, true},
		{"a shorter grace that would end later does not", action{verb: stop, target: "x", grace: 12 * time.Second}, want{}, []action{{verb: stop, target: "x", grace: 5 * time.Second}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flight{make(c.going)}
			f.supersede(c.want, &decision{actions: c.planned}, noon)
			if f[0].cancelled != c.cancels {
				t.Errorf("it is cancelled: %v", f[0].cancelled)
			}
		})
	}
}

func TestMemoryForgetsWhatIsGone(t *testing.T) {
	m := failedBefore(pulled(0, "a"), pull, "app", 0, 1, 0, fmt.Errorf("broken"))
	m.settle(action{verb: stop, uid: "old", target: "old_a_0"}, fmt.Errorf("broken"), noon)
	m.settle(action{verb: forget, uid: "old"}, fmt.Errorf("broken"), noon)
	have := Observed{Containers: []Container{instance("new", "a", 0, exited(0, 1, 1))}}
	m.sees(&have, noon)
	if len(m.failed) != 1 || len(m.ended) != 1 {
		t.Errorf("it remembers %v and %v", m.failed, m.ended)
	}
	m.wants("newer")
	m.sees(&Observed{}, noon)
	if len(m.failed)+len(m.ended)+len(m.pulled) != 0 {
		t.Errorf("it still remembers %v, %v and %v", m.failed, m.ended, m.pulled)
	}
}

func TestNewestInstances(t *testing.T) {
	o := Observed{Containers: []Container{instance("new", "a", 2), instance("new", "a", 7), instance("old", "a", 9), instance("new", "a", 5)}}
	last, before := o.newest("new", "a")
	if last.Attempt != 7 || before.Attempt != 5 {
		t.Errorf("the newest are %d and %d", last.Attempt, before.Attempt)
	}
	slices.Reverse(o.Containers)
	if last, before = o.newest("new", "a"); last.Attempt != 7 || before.Attempt != 5 {
		t.Errorf("in another order the newest are %d and %d", last.Attempt, before.Attempt)
	}
}
