package podmgr_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr/fake"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

// answers is what commands in containers answer: a command fails when it is in the set, and hangs when its first word is
// "hang".
type answers struct {
	mu    sync.Mutex
	fails map[string]bool // guarded by mu
}

func (a *answers) set(command string, fails bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fails == nil {
		a.fails = map[string]bool{}
	}
	a.fails[command] = fails
}

func (a *answers) command(ctx context.Context, _ fake.Call, args []string) (int, string, error) {
	if args[0] == "hang" {
		<-ctx.Done()
		return 0, "", ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fails[args[0]] {
		return 1, args[0] + " says no", nil
	}
	return 0, "", nil
}

// asks makes a probe that runs a command each second.
func asks(command ...string) *v1.Probe {
	return &v1.Probe{
		ProbeHandler:  v1.ProbeHandler{Exec: &v1.ExecAction{Command: command}},
		PeriodSeconds: 1, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3,
	}
}

// probed gives container a probes; empty: none.
func probed(p *manifests.Pod, startup, liveness, readiness string) *manifests.Pod {
	return with(p, "a", func(c *v1.Container) {
		if startup != "" {
			c.StartupProbe = asks(startup)
		}
		if liveness != "" {
			c.LivenessProbe = asks(liveness)
		}
		if readiness != "" {
			c.ReadinessProbe = asks(readiness)
		}
	})
}

// inProbedWorld runs a test in a world whose containers answer.
func inProbedWorld(t *testing.T, run func(*world, *answers)) {
	t.Helper()
	a := &answers{}
	inWorld(t, func(w *world) { w.rt.Command = a.command }, func(w *world) { run(w, a) })
}

// shows fails the test unless container a is shown as started and ready or not.
func (w *world) shows(started, ready bool) {
	w.t.Helper()
	s := w.entry(web).Status
	c := s.ContainerStatuses[0]
	if *c.Started != started || c.Ready != ready {
		w.t.Errorf("it is shown started=%v ready=%v, want %v and %v", *c.Started, c.Ready, started, ready)
	}
	for _, cond := range s.Conditions {
		if (cond.Type == v1.PodReady || cond.Type == v1.ContainersReady) && (cond.Status == v1.ConditionTrue) != ready {
			w.t.Errorf("condition %s is %s", cond.Type, cond.Status)
		}
	}
}

// asked is how often a command was run.
func (w *world) asked(command string) (n int) {
	for _, c := range w.rt.Calls() {
		if c.Verb == "Exec" && c.Target == command {
			n++
		}
	}
	return n
}

func TestAReadinessProbeTurnsReadinessOnAndOff(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		a.set("ready", true)
		w.dir.wants(probed(makePod(web, "v1", v1.RestartPolicyAlways, loop), "", "", "ready"))
		w.after(time.Minute)
		w.shows(true, false)
		a.set("ready", false)
		w.after(time.Second)
		w.shows(true, true)
		since := w.entry(web).Status.Conditions[2].LastTransitionTime
		a.set("ready", true)
		w.after(2 * time.Second)
		w.shows(true, true)
		w.after(time.Second)
		w.shows(true, false)
		if now := w.entry(web).Status.Conditions[2].LastTransitionTime; now.Sub(since.Time) != 3*time.Second {
			t.Errorf("it was ready for %v", now.Sub(since.Time))
		}
		if e := w.events(web); !slices.Contains(e, "Warning a Unhealthy×64 Readiness probe failed: ready says no") {
			t.Errorf("the events are %q", e)
		}
		w.runs(web, "v1_a_0")
	})
}

func TestAFailedLivenessProbeRestartsTheContainer(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		p := probed(makePod(web, "v1", v1.RestartPolicyOnFailure, loop), "", "alive", "ready")
		p = with(p, "a", func(c *v1.Container) { c.LivenessProbe.TerminationGracePeriodSeconds = new(int64(4)) })
		began := time.Now()
		w.dir.wants(p)
		w.after(time.Minute)
		w.shows(true, true)
		a.set("alive", true)
		w.after(30 * time.Second)
		a.set("alive", false)
		w.after(time.Minute)
		w.expect([]string{
			"0s Start a#0", "1m3s Stop a#0 within 4s", "1m3s Start a#1", "1m5s Stop a#1 within 4s", "1m15s Start a#2",
			"1m17s Stop a#2 within 4s", "1m37s Start a#3",
		}, w.did(began, "Start", "Stop"))
		w.shows(true, true)
		for _, want := range []string{
			"Warning a Unhealthy×9 Liveness probe failed: alive says no",
			"Normal a Killing×3 Container a failed liveness probe, will be restarted",
		} {
			if e := w.events(web); !slices.Contains(e, want) {
				t.Errorf("among the events %q is no %q", e, want)
			}
		}
	})
}

func TestAStartupProbeGoesBeforeTheOthers(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		a.set("up", true)
		p := with(probed(makePod(web, "v1", v1.RestartPolicyNever, loop), "up", "alive", "ready"), "a", func(c *v1.Container) {
			c.StartupProbe.FailureThreshold = 60
		})
		w.dir.wants(p)
		w.after(30 * time.Second)
		w.shows(false, false)
		if w.asked("alive")+w.asked("ready") > 0 {
			t.Error("other probes ran before the startup probe had succeeded")
		}
		w.crash() // a slow start is not over because the agent is
		w.boot()
		w.dir.wants(p)
		w.after(10 * time.Second)
		w.shows(false, false)
		if w.asked("alive")+w.asked("ready") > 0 {
			t.Error("after a restart of the agent other probes ran before the startup probe had succeeded")
		}
		a.set("up", false)
		w.after(3 * time.Second)
		w.shows(true, true)
		n := w.asked("up")
		w.after(time.Minute)
		if w.asked("up") != n {
			t.Error("the startup probe goes on after it has succeeded")
		}
	})
}

func TestAFailedStartupProbeOfAPodThatIsNeverRestartedFailsIt(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		a.set("up", true)
		w.dir.wants(probed(makePod(web, "v1", v1.RestartPolicyNever, stubborn), "up", "", ""))
		w.after(time.Minute)
		if s := w.entry(web).Status; s.Phase != v1.PodFailed {
			t.Errorf("it is shown as %+v", s)
		}
		w.runs(web)
	})
}

func TestReadinessSurvivesARestartOfTheAgentWithoutFlapping(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		p := probed(makePod(web, "v1", v1.RestartPolicyAlways, loop), "up", "alive", "ready")
		w.dir.wants(p)
		w.after(5 * time.Second)
		w.shows(true, true)
		for _, ready := range []bool{true, false} {
			a.set("ready", !ready)
			w.after(5 * time.Second)
			before := w.entry(web)
			w.crash()
			w.after(time.Minute)
			w.boot()
			w.dir.wants(p)
			for range 30 {
				w.after(100 * time.Millisecond)
				if d := cmp.Diff(before.Status, w.entry(web).Status); d != "" {
					t.Fatalf("the restart changed the status (-before +after):\n%s", d)
				}
			}
		}
		if w.asked("up") != 1 {
			t.Errorf("the startup probe was asked %d times", w.asked("up"))
		}
	})
}

func TestASidecarHoldsTheOthersBackUntilItHasStarted(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		a.set("up", true)
		p := with(initialized("v1", v1.RestartPolicyAlways, loop), "s", func(c *v1.Container) {
			c.StartupProbe = asks("up")
			c.StartupProbe.FailureThreshold = 100
		})
		w.dir.wants(p)
		w.after(20 * time.Second)
		w.runs(web, "v1_s_0")
		s := w.entry(web).Status
		if s.Phase != v1.PodPending || s.Conditions[1].Message != "containers with incomplete status: [s t]" {
			t.Errorf("it is shown as %+v", s)
		}
		a.set("up", false)
		w.after(6 * time.Second)
		w.runs(web, "v1_a_0", "v1_s_0")
	})
}

func TestAProbeLivesAsLongAsItsInstance(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		w.dir.wants(probed(makePod(web, "v1", v1.RestartPolicyAlways, stubborn), "", "alive", "ready"))
		w.after(10 * time.Second)
		alive, ready := w.asked("alive"), w.asked("ready")
		w.dir.wants()
		w.after(10 * time.Second)
		if n := w.asked("alive"); n != alive {
			t.Errorf("while the container ends it was asked %d times whether it is alive", n-alive)
		}
		if n := w.asked("ready"); n != ready+10 {
			t.Errorf("while the container ends it was asked %d times whether it is ready", n-ready)
		}
		a.set("ready", true)
		w.after(3 * time.Second)
		w.shows(true, false)
		w.after(20 * time.Second)
		w.gone(web)
		n := len(w.rt.Calls())
		w.after(time.Minute)
		if len(w.rt.Calls()) != n {
			t.Errorf("after its end there was %v", w.calls()[n:])
		}
	})
}

func TestAHungProbeDelaysNothingElse(t *testing.T) {
	inProbedWorld(t, func(w *world, _ *answers) {
		p := probed(makePod(web, "v1", v1.RestartPolicyAlways, loop), "", "", "ready")
		p = with(p, "a", func(c *v1.Container) {
			c.LivenessProbe = asks("hang")
			c.LivenessProbe.FailureThreshold = 100
		})
		w.dir.wants(p)
		w.after(20 * time.Second)
		if n := w.asked("ready"); n < 20 {
			t.Errorf("beside a hung probe the other was asked %d times in 20 s", n)
		}
		w.dir.wants()
		w.after(0)
		w.gone(web)
	})
}

func TestProbesAreToldToTheMetrics(t *testing.T) {
	var mu sync.Mutex
	told := map[string]int{}
	tell := func(pod *v1.Pod, container, kind, result string, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		told[strings.Join([]string{pod.Name, container, kind, result}, " ")]++
	}
	inWorld(t, func(w *world) { w.rt.Command, w.hooks.Probed = (&answers{}).command, tell }, func(w *world) {
		w.dir.wants(probed(makePod(web, "v1", v1.RestartPolicyAlways, loop), "", "", "ready"))
		w.after(9500 * time.Millisecond)
	})
	if d := cmp.Diff(map[string]int{"web a Readiness successful": 10}, told); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
}

func TestTheProbePeriodOfAnAnnotation(t *testing.T) {
	inProbedWorld(t, func(w *world, _ *answers) {
		p := probed(makePod(web, "v1", v1.RestartPolicyAlways, loop), "", "", "ready")
		p.Object.Annotations = map[string]string{"agent.edgepod.dev/probe-period-ms": "100"}
		w.dir.wants(p)
		w.after(1950 * time.Millisecond)
		if n := w.asked("ready"); n != 20 {
			t.Errorf("in 2 s it was asked %d times", n)
		}
	})
}

func TestAPostStartHookHoldsTheStartBack(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := with(initialized("v1", v1.RestartPolicyAlways, loop), "s", postStart("exit", "0", "7s"))
		began := time.Now()
		w.dir.wants(p)
		w.after(6 * time.Second)
		w.runs(web, "v1_s_0")
		if s := w.entry(web).Status.InitContainerStatuses[0]; *s.Started || s.Ready {
			t.Errorf("it is shown as %+v", s)
		}
		w.after(time.Minute)
		w.expect([]string{
			"0s Start s#0", "0s Exec s#0 exit 0 7s", "7s Start t#0", "12s Start a#0",
		}, w.did(began, "Start", "Exec"))
		w.crash()
		w.boot()
		w.dir.wants(p)
		w.after(time.Minute)
		if n := w.count("Exec"); n != 1 {
			t.Errorf("the hook ran %d times", n)
		}
	})
}

func TestAFailedPostStartHookEndsTheContainer(t *testing.T) {
	slow := func(w *world) {
		w.rt.Step = func(_ context.Context, c fake.Call, at fake.Stage) error {
			if c.Verb == "Pull" && at == fake.Before && w.count("Stop") > 0 {
				time.Sleep(5 * time.Second) // so that the status can be seen
			}
			return nil
		}
	}
	inWorld(t, slow, func(w *world) {
		w.dir.wants(with(makePod(web, "v1", v1.RestartPolicyAlways, loop), "a", postStart("exit", "9", "1s")))
		w.after(3 * time.Second)
		want := v1.ContainerStateWaiting{Reason: "PostStartHookError", Message: `command "exit 9 1s" exited with 9: `}
		s := w.entry(web).Status.ContainerStatuses[0]
		if d := cmp.Diff(&want, s.State.Waiting); d != "" {
			t.Errorf("it waits for (-want +got):\n%s", d)
		}
		w.after(5 * time.Second)
		s = w.entry(web).Status.ContainerStatuses[0]
		if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" {
			t.Errorf("after the second failure it is shown as %+v", s)
		}
		for _, want := range []string{
			"Warning a FailedPostStartHook×2 PostStartHook failed", "Normal a Killing×2 FailedPostStartHook",
		} {
			if e := w.events(web); !slices.Contains(e, want) {
				t.Errorf("among the events %q is no %q", e, want)
			}
		}
	})
}

func TestAHungPostStartHookEndsWithItsPod(t *testing.T) {
	inProbedWorld(t, func(w *world, _ *answers) {
		w.dir.wants(with(makePod(web, "v1", v1.RestartPolicyAlways, loop), "a", postStart("hang")))
		w.after(time.Hour)
		w.shows(false, false)
		w.dir.wants()
		w.after(0)
		w.gone(web)
	})
}

func TestAHungPostStartHookEndsWithItsContainer(t *testing.T) {
	inProbedWorld(t, func(w *world, _ *answers) {
		w.dir.wants(with(makePod(web, "v1", v1.RestartPolicyAlways, loop), "a", postStart("hang")))
		w.after(time.Minute)
		w.rt.Exit(web, "a", 1)
		w.after(0)
		w.runs(web, "v1_a_1")
	})
}

func TestAPreStopHookTakesOfTheGracePeriod(t *testing.T) {
	inProbedWorld(t, func(w *world, a *answers) {
		a.set("bye", true)
		p := makePod(web, "v1", v1.RestartPolicyAlways, loop, stubborn)
		p = with(with(p, "a", preStop("bye")), "b", preStop("hang"))
		began := time.Now()
		w.dir.wants(p)
		w.after(time.Minute)
		w.dir.wants()
		w.after(time.Minute)
		w.expect([]string{"1m0s Exec a#0 bye", "1m0s Exec b#0 hang"}, w.did(began, "Exec"))
		w.expect([]string{"1m0s Stop a#0 within 30s", "1m30s Stop b#0 within 2s"}, w.did(began, "Stop"))
		if e := w.events(web); !slices.Contains(e, "Warning a FailedPreStopHook×1 PreStopHook failed") {
			t.Errorf("the events are %q", e)
		}
		w.gone(web)
	})
}

func TestAPreStopHookThatCannotBeRunHoldsNothingUp(t *testing.T) {
	broken := func(w *world) {
		w.rt.Step = func(_ context.Context, c fake.Call, _ fake.Stage) error {
			if c.Verb == "Exec" {
				return errors.New("no such container")
			}
			return nil
		}
	}
	inWorld(t, broken, func(w *world) {
		w.dir.wants(with(makePod(web, "v1", v1.RestartPolicyAlways, loop), "a", preStop("bye")))
		w.after(time.Minute)
		w.dir.wants()
		w.after(0)
		w.gone(web)
	})
}

func TestAMarkThatCannotBeKeptIsNotTriedAllTheTime(t *testing.T) {
	full := func(w *world) {
		w.rt.Command = (&answers{}).command
		w.rt.Step = func(_ context.Context, c fake.Call, at fake.Stage) error {
			if c.Verb == "Mark" && at == fake.Before {
				return errors.New("no space left")
			}
			return nil
		}
	}
	inWorld(t, full, func(w *world) {
		w.dir.wants(probed(makePod(web, "v1", v1.RestartPolicyAlways, loop), "", "", "ready"))
		w.after(time.Minute)
		w.shows(true, true)
		if n := w.count("Mark"); n > 20 {
			t.Errorf("a mark that fails was tried %d times in a minute", n)
		}
	})
}
