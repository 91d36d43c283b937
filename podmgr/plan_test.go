package podmgr

import (
	"fmt"
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

func vanished(c *Container) {
	c.State, c.Sealed, c.ExitCode, c.Reason = Unknown, true, 255, "ContainerStatusUnknown"
}

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
	case stop, preStop:
		s += fmt.Sprintf(" %s within %v", a.target, a.grace)
	case ensureSandbox, refresh, forget:
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

// planCase is a row of the tables about the plan.
type planCase struct {
	name string
	want want
	have Observed
	mem  memory
	do   []string
	wake time.Duration // after noon; 0: none
}

// checkPlans runs a table.
func checkPlans(t *testing.T, cases []planCase) {
	t.Helper()
	for _, c := range cases {
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

// busy is a pod with all that a pod can have, which runs, with nothing to do.
func busy() (want, Observed, memory) {
	p := withInit(wanted(always, "a", "b"), "i", "s")
	p.Object.Spec.ActiveDeadlineSeconds = new(int64(100_000))
	changed(p, "a", startupProbe)
	changed(p, "a", func(c *v1.Container) { c.LivenessProbe, c.ReadinessProbe = &v1.Probe{}, &v1.Probe{} })
	changed(p, "b", postStarting)
	changed(p, "s", preStopping)
	changed(p, "b", ruled("Always", v1.ContainerRestartRuleActionRestartAllContainers, opIn, 42))
	have := Observed{
		Sandboxes: sandboxed("new", SandboxReady),
		Containers: []Container{
			instance("new", "a", 0), instance("new", "b", 0, exited(1, 9, 90)),
			instance("new", "b", 1, marked(Mark{Hooked: true})), instance("new", "i", 0, exited(0, 9, 99)), instance("new", "s", 0),
		},
		Remains: []types.UID{"new"},
	}
	m := Mark{Started: true, Ready: true, Since: ago(70)}
	mem := pulled(0, "a", "b", "i", "s")
	mem.notes = map[string]*note{"new_a_0": {own: true, mark: m, written: m}}
	mem.shown = p
	w := want{pod: p}
	mem.wants(w)
	mem.sees(&have, noon)
	return w, have, mem
}

func TestPlanningForAPodWithNothingToDoAllocatesNothing(t *testing.T) {
	for name, make := range map[string]func() (want, Observed, memory){"a plain pod": steady, "a pod with everything": busy} {
		t.Run(name, func(t *testing.T) {
			w, have, mem := make()
			var d decision
			if n := testing.AllocsPerRun(100, func() {
				mem.wants(w)
				mem.sees(&have, noon)
				plan(w, &have, &mem, noon, &d)
			}); n != 0 {
				t.Errorf("it allocates %v times", n)
			}
			if len(d.actions) != 0 {
				t.Errorf("it wants to %v", d.actions)
			}
		})
	}
}

func BenchmarkPlanWithNothingToDo(b *testing.B) {
	for name, make := range map[string]func() (want, Observed, memory){"plain": steady, "everything": busy} {
		b.Run(name, func(b *testing.B) {
			w, have, mem := make()
			var d decision
			b.ReportAllocs()
			for b.Loop() {
				mem.wants(w)
				mem.sees(&have, noon)
				plan(w, &have, &mem, noon, &d)
			}
		})
	}
}

// downSince is a memory's note that the time of a whole pod to end is over so many seconds ago.
func downSince(uid types.UID, seconds int) map[types.UID]time.Time {
	return map[types.UID]time.Time{uid: ago(seconds)}
}
