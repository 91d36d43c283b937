package podmgr

import (
	"fmt"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func preStopping(c *v1.Container) {
	c.Lifecycle = &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"bye"}}}}
}

func postStarting(c *v1.Container) {
	c.Lifecycle = &v1.Lifecycle{PostStart: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"hello"}}}}
}

// ruled gives a container a restart policy and a rule for one exit code.
func ruled(policy v1.ContainerRestartPolicy, action v1.ContainerRestartRuleAction, op v1.ContainerRestartRuleOnExitCodesOperator, code int32) func(*v1.Container) {
	return func(c *v1.Container) {
		c.RestartPolicy = &policy
		c.RestartPolicyRules = []v1.ContainerRestartRule{{
			Action: action, ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: op, Values: []int32{code}},
		}}
	}
}

const (
	opIn    = v1.ContainerRestartRuleOnExitCodesOpIn
	opNotIn = v1.ContainerRestartRuleOnExitCodesOpNotIn
	restart = v1.ContainerRestartRuleActionRestart
)

func TestPlanOfContainerRestartPolicies(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	beside := instance("new", "b", 0)
	row := func(name string, policy v1.RestartPolicy, change func(*v1.Container), code int32, do ...string) planCase {
		return planCase{
			name: name, want: want{pod: changed(wanted(policy, "a", "b"), "a", change)},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(code, 5, 1)), beside}},
			mem:  pulled(1, "a"), do: do,
		}
	}
	own := func(p v1.ContainerRestartPolicy) func(*v1.Container) {
		return func(c *v1.Container) { c.RestartPolicy = &p }
	}
	again := "start a#1 carrying 10s"
	checkPlans(t, []planCase{
		row("a container's Always counts more than the pod's Never", never, own("Always"), 0, again),
		row("a container's Never counts more than the pod's Always", always, own("Never"), 1),
		row("a container's OnFailure restarts a failure", never, own("OnFailure"), 1, again),
		row("a container's OnFailure does not restart a success", always, own("OnFailure"), 0),
		row("a rule restarts after a code that it has", never, ruled("Never", restart, opIn, 42), 42, again),
		row("a rule says nothing of other codes", never, ruled("Never", restart, opIn, 42), 1),
		row("a rule restarts after any code but those it has", never, ruled("Never", restart, opNotIn, 42), 1, again),
		row("a rule that names the code in NotIn leaves it to the policy", never, ruled("OnFailure", restart, opNotIn, 42), 42, again),
		{
			name: "the rules are not asked about what a probe has killed",
			want: want{pod: changed(wanted(always, "a", "b"), "a", ruled("Never", restart, opIn, 137))},
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(137, 5, 1), marked(Mark{Ended: EndedByLiveness})), beside,
			}},
			mem: pulled(1, "a"),
		},
		{
			name: "what a probe has killed is restarted although it exited with 0",
			want: want{pod: wanted(onFailure, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(0, 5, 1), marked(Mark{Ended: EndedByLiveness})), beside,
			}},
			mem: pulled(1, "a"),
			do:  []string{again},
		},
	})
}

func TestPlanOfBeginningAnew(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	all := v1.ContainerRestartRuleActionRestartAllContainers
	ruledPod := func() want {
		return want{pod: changed(withInit(wanted(never, "a", "b"), "s", "i"), "a", ruled("Never", all, opIn, 42))}
	}
	asked := marked(Mark{Ended: EndedForRestart})
	checkPlans(t, []planCase{
		{
			name: "a code for which a rule restarts all ends the main containers first",
			want: ruledPod(),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(42, 5, 1)), instance("new", "b", 0),
				instance("new", "i", 0, exited(0, 5, 99)), instance("new", "s", 0),
			}},
			mem:  pulled(1, "a", "i"),
			do:   []string{"stop new_b_0 within 30s"},
			wake: 30 * time.Second,
		},
		{
			name: "nothing starts before the sidecars have ended",
			want: ruledPod(),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(42, 5, 2)), instance("new", "b", 0, exited(143, 99, 1)),
				instance("new", "i", 0, exited(0, 5, 99)), instance("new", "s", 0),
			}},
			mem: pulled(1, "a", "i"),
			do:  []string{"stop new_s_0 within 30s"},
		},
		{
			name: "then all begins again from the first init container",
			want: ruledPod(),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(42, 5, 2)), instance("new", "b", 0, exited(143, 99, 1)),
				instance("new", "i", 0, exited(0, 5, 99)), instance("new", "s", 0, exited(143, 99, 1)),
			}},
			mem: pulled(1, "s"),
			do:  []string{"start s#1 carrying 10s"},
		},
		{
			name: "and what had completed runs again too",
			want: ruledPod(),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(42, 5, 9)), instance("new", "b", 0, exited(0, 99, 20)),
				instance("new", "i", 0, exited(0, 5, 99)), instance("new", "i", 1, exited(0, 1, 3)),
				instance("new", "s", 0, exited(143, 99, 8)), instance("new", "s", 1, createdAgo(5)),
			}},
			mem: pulled(1, "a", "b"),
			do:  []string{"start a#1 carrying 10s", "start b#1 carrying 10s"},
		},
		{
			name: "a pod that a person wants restarted is stopped whatever its policy",
			want: want{pod: wanted(never, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, asked), instance("new", "b", 0, exited(0, 5, 5), asked)}},
			mem:  pulled(1, "b"),
			do:   []string{"stop new_a_0 within 30s"},
		},
		{
			name: "and started again without back-off",
			want: want{pod: wanted(never, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 6, exited(143, 5, 0), carries(300), asked)}},
			mem:  pulled(7, "a"),
			do:   []string{"start a#7 carrying 10s"},
		},
	})
}

func TestPlanOfProbesAndHooks(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	running := func(change ...func(*Container)) Observed {
		return Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, change...)}}
	}
	fails := func(c *v1.Container) {
		c.LivenessProbe = &v1.Probe{TerminationGracePeriodSeconds: new(int64(7))}
	}
	stopping := func() want { return want{pod: changed(wanted(always, "a"), "a", preStopping)} }
	checkPlans(t, []planCase{
		{
			name: "a container whose liveness probe has failed is stopped in the probe's own time",
			want: want{pod: changed(wanted(always, "a"), "a", fails)},
			have: running(marked(Mark{Ended: EndedByLiveness})),
			do:   []string{"stop new_a_0 within 7s"},
		},
		{
			name: "or in the pod's, when the probe has none",
			want: want{pod: changed(wanted(always, "a"), "a", startupProbe)},
			have: running(marked(Mark{Ended: EndedByStartup})),
			do:   []string{"stop new_a_0 within 30s"},
		},
		{
			name: "a preStop hook comes before the stop",
			want: want{pod: changed(changed(wanted(always, "a"), "a", preStopping), "a", fails)},
			have: running(marked(Mark{Ended: EndedByLiveness})),
			do:   []string{"preStop hook new_a_0 within 7s"},
		},
		{
			name: "and takes of its time",
			want: stopping(),
			have: running(marked(Mark{Ended: EndedByHook})),
			mem:  memory{uid: "new", notes: map[string]*note{"new_a_0": {until: ago(-12), preStopped: true}}},
			do:   []string{"stop new_a_0 within 12s"},
		},
		{
			name: "but leaves the container two seconds",
			want: stopping(),
			have: running(marked(Mark{Ended: EndedByHook})),
			mem:  memory{uid: "new", notes: map[string]*note{"new_a_0": {until: ago(1)}}},
			do:   []string{"stop new_a_0 within 2s"},
		},
		{
			name: "an instance that was told to end before the pod was wanted again ends",
			want: want{pod: wanted(always, "a")},
			have: running(),
			mem:  memory{uid: "new", notes: map[string]*note{"new_a_0": {until: ago(-12)}}},
			do:   []string{"stop new_a_0 within 12s"},
		},
		{
			name: "a postStart hook runs once the container does",
			want: want{pod: changed(wanted(always, "a"), "a", postStarting)},
			have: running(),
			do:   []string{"postStart hook new_a_0"},
		},
		{
			name: "but once",
			want: want{pod: changed(wanted(always, "a"), "a", postStarting)},
			have: running(marked(Mark{Hooked: true})),
		},
		{
			name: "what is found out about an instance is kept with it",
			want: want{pod: wanted(always, "a")},
			have: running(),
			mem:  memory{uid: "new", notes: map[string]*note{"new_a_0": {own: true, mark: Mark{Ready: true}}}},
			do:   []string{"mark new_a_0"},
		},
		{
			name: "and that is done once",
			want: want{pod: wanted(always, "a")},
			have: running(),
			mem:  memory{uid: "new", notes: map[string]*note{"new_a_0": {own: true, mark: Mark{Ready: true}, written: Mark{Ready: true}}}},
		},
	})
}

func TestPlanOfTheWayDown(t *testing.T) {
	old := func(change func(*v1.Container)) map[types.UID]recalled {
		p := withInit(wanted(always, "a"), "s1", "s2")
		for _, name := range []string{"a", "s1"} {
			changed(p, name, change)
		}
		return map[types.UID]recalled{"old": {pod: p.Object}}
	}
	three := []Container{instance("old", "a", 0), instance("old", "s1", 0), instance("old", "s2", 0)}
	nothing := func(*v1.Container) {}
	checkPlans(t, []planCase{
		{
			name: "of a pod that goes the main containers end first, sidecars with it when the time is over",
			have: Observed{Containers: three},
			mem:  memory{recalled: old(nothing)},
			do:   []string{"stop old_a_0 within 30s"},
			wake: 30 * time.Second,
		},
		{
			name: "the preStop hooks do not wait for their turn",
			have: Observed{Containers: three},
			mem:  memory{recalled: old(preStopping)},
			do:   []string{"preStop hook old_a_0 within 30s", "preStop hook old_s1_0 within 30s"},
			wake: 30 * time.Second,
		},
		{
			name: "all have one time together",
			have: Observed{Containers: three[1:]},
			mem:  memory{recalled: old(nothing), down: downSince("old", -11)},
			do:   []string{"stop old_s2_0 within 11s"},
			wake: 11 * time.Second,
		},
		{
			name: "when it is over nothing waits any more",
			have: Observed{Containers: three},
			mem:  memory{recalled: old(nothing), down: downSince("old", 1)},
			do:   []string{"stop old_a_0 within 2s", "stop old_s1_0 within 2s", "stop old_s2_0 within 2s"},
		},
		{
			name: "a pod of which nothing is known ends at once",
			have: Observed{Containers: three},
			do:   []string{"stop old_a_0 within 30s", "stop old_s1_0 within 30s", "stop old_s2_0 within 30s"},
		},
		{
			name: "a grace period of 0 is none",
			have: Observed{Containers: []Container{instance("old", "a", 0, func(c *Container) { c.Grace = 0 })}},
			mem:  memory{recalled: old(preStopping)},
			do:   []string{"stop old_a_0 within 0s"},
		},
		{
			name: "and does not become less however long the end takes",
			have: Observed{Containers: []Container{instance("old", "a", 0, func(c *Container) { c.Grace = 0 })}},
			mem:  memory{down: downSince("old", 1000)},
			do:   []string{"stop old_a_0 within 0s"},
		},
	})
}

func TestPlanOfTheActiveDeadline(t *testing.T) {
	ready := sandboxed("new", SandboxReady) // made 5000 s ago
	limited := func(seconds int64) want {
		p := wanted(never, "a")
		p.Object.Spec.ActiveDeadlineSeconds = &seconds
		return want{pod: p}
	}
	since := func(seconds, learnt int) memory {
		return memory{uid: "new", recalled: map[types.UID]recalled{"new": {since: ago(seconds), learnt: ago(learnt)}}}
	}
	checkPlans(t, []planCase{
		{
			name: "a pod is looked at when its time is over",
			want: limited(5010),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}},
			wake: 10 * time.Second,
		},
		{
			name: "then it is stopped",
			want: limited(5000),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}},
			do:   []string{"stop new_a_0 within 30s"},
		},
		{
			name: "its time runs on in a later sandbox",
			want: limited(9000),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}},
			mem:  since(9000, 8000),
			do:   []string{"stop new_a_0 within 30s"},
		},
		{
			name: "and it never runs again",
			want: limited(9000),
			have: Observed{},
			mem:  since(9001, 8000),
		},
		{
			name: "what had completed before is left as it is",
			want: limited(9000),
			have: Observed{Containers: []Container{instance("new", "a", 0, exited(0, 5, 60))}, Remains: []types.UID{"new"}},
			mem:  since(9001, 8000),
		},
	})
}

func TestTheActiveDeadlineDoesNotJumpWithTheClock(t *testing.T) {
	pod := wanted(never, "a").Object
	pod.Spec.ActiveDeadlineSeconds = new(int64(100))
	learnt := time.Now() // carries a monotonic reading, which the wall clock's jump does not move
	mem := memory{recalled: map[types.UID]recalled{"new": {since: wall(learnt), learnt: learnt}}}
	l := lifeOf(pod, &Observed{}, &mem, learnt)
	if d := l.deadline(); d.Sub(learnt) != 100*time.Second || d == d.Round(0) {
		t.Errorf("the deadline %v is not measured by the monotonic clock", d)
	}
}

func TestPlanOfRefreshing(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	mounting := func(p *manifests.Pod) *manifests.Pod {
		p.Object.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{}}}}
		return p
	}
	running := Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}}
	labelled := mounting(wanted(always, "a"))
	labelled.Object.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "new", Labels: map[string]string{"a": "b"}}
	failed := failedBefore(memory{uid: "new", shown: wanted(always, "a")}, refresh, "", 0, 1, 0, fmt.Errorf("no such key"))
	checkPlans(t, []planCase{
		{
			name: "volumes that an agent before this one filled are brought up to date",
			want: want{pod: mounting(wanted(always, "a"))},
			have: running,
			do:   []string{"refresh new"},
		},
		{
			name: "nothing is refreshed when no volume can show anything",
			want: want{pod: wanted(always, "a")},
			have: running,
		},
		{
			name: "nor before there is a container",
			want: want{pod: mounting(wanted(always, "a"))},
			have: Observed{Sandboxes: ready},
			mem:  pulled(0, "a"),
			do:   []string{"start a#0"},
		},
		{
			name: "nor when only the place of the manifest has changed",
			want: want{pod: mounting(wanted(always, "a"))},
			have: running,
			mem:  memory{uid: "new", shown: mounting(wanted(always, "a"))},
		},
		{
			name: "a label that changed shows",
			want: want{pod: labelled},
			have: running,
			mem:  memory{uid: "new", shown: mounting(wanted(always, "a"))},
			do:   []string{"refresh new"},
		},
		{
			name: "a refresh that failed is repeated after a while",
			want: want{pod: labelled},
			have: running,
			mem:  failed,
			wake: time.Second,
		},
	})
}
