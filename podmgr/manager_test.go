package podmgr_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/fake"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

var (
	loop     = []string{"run"}
	stubborn = []string{"stubborn"}
	crash    = []string{"exit", "1"}
)

func TestAWantedPodRunsAfterTheFewestSteps(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(0)
		got := w.calls()
		slices.Sort(got)          // the pull and the sandbox begin together, and the start does not wait for the sandbox:
		got = slices.Compact(got) // coming before it, it is refused and comes again
		want := []string{"EnsureSandbox default/web", "Pull default/web app", "Start default/web a#0"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		e := w.entry(web)
		if e.Status.Phase != v1.PodRunning || !e.Status.ContainerStatuses[0].Ready || e.Source != "dir:/manifests" {
			t.Errorf("the board shows %+v", e)
		}
	})
}

func TestThePullAndTheSandboxBeginTogether(t *testing.T) {
	slow := func(w *world) {
		w.rt.Step = func(ctx context.Context, c fake.Call, at fake.Stage) error {
			if (c.Verb == "Pull" || c.Verb == "EnsureSandbox") && at == fake.Before {
				time.Sleep(time.Second)
			}
			return nil
		}
	}
	inWorld(t, slow, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop, loop))
		w.after(time.Second)
		w.runs(web, "v1_a_0", "v1_b_0")
		if n := w.count("Pull"); n != 1 {
			t.Errorf("one image was pulled %d times", n)
		}
	})
}

func TestAChangedPodReplacesTheOldOneAsSoonAsThatIsGone(t *testing.T) {
	stops := func(w *world) {
		w.rt.Program = func(p *manifests.Pod, _ string, _ int) fake.Program { return fake.Program{StopTakes: 7 * time.Second} }
	}
	inWorld(t, stops, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop, loop))
		w.after(time.Minute)
		w.dir.wants(makePod(web, "v2", v1.RestartPolicyAlways, loop))
		w.after(6 * time.Second)
		w.runs(web, "v1_a_0", "v1_b_0")
		if e := w.entry(web); e.Pod.UID() != "v2" || e.Status.Phase != v1.PodPending {
			t.Errorf("while the old pod stops the board shows %s in phase %s", e.Pod.UID(), e.Status.Phase)
		}
		w.after(time.Second)
		w.runs(web, "v2_a_0")
	})
}

func TestARemovedPodLeavesNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop, stubborn))
		w.after(time.Minute)
		w.dir.wants()
		w.after(10 * time.Second)
		e := w.entry(web)
		if e.Deleted.IsZero() || e.Status.Phase != v1.PodRunning || e.Pod.UID() != "v1" || e.Status.PodIP == "" {
			t.Errorf("while it goes the board shows %+v", e)
		}
		w.after(20 * time.Second)
		w.gone(web)
	})
}

func TestAPodThatComesBackWhileItGoesIsStartedAnew(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, stubborn))
		w.after(time.Minute)
		w.dir.wants()
		w.after(10 * time.Second)
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, stubborn))
		w.after(20 * time.Second)
		w.runs(web, "v1_a_1")
		if e := w.entry(web); !e.Deleted.IsZero() || e.Status.Phase != v1.PodRunning {
			t.Errorf("the board shows %+v", e)
		}
	})
}

func TestAPodThatIsWantedAgainAsItsWorkerEndsIsStarted(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyAlways, loop)
		for i := range 400 {
			w.dir.wants(p)
			w.after(time.Second)
			w.dir.wants()
			for range i { // the worker gets a little further each time
				runtime.Gosched()
			}
			w.dir.wants(p)
			w.after(time.Second)
			if len(w.running(web)) != 1 {
				t.Fatalf("in round %d there runs %v", i, w.running(web))
			}
			w.dir.wants()
			w.after(time.Second)
		}
	})
}

func TestNothingIsStoppedBeforeEverySourceHasSpoken(t *testing.T) {
	api := newSource("api")
	running := func(w *world) {
		w.sources = append(w.sources, api)
		w.rt.Put(web, podmgr.Observed{
			Sandboxes:  []podmgr.Sandbox{{ID: "x_sandbox", UID: "x", State: podmgr.SandboxReady}},
			Containers: []podmgr.Container{{ID: "x_a_0", UID: "x", Name: "a", State: podmgr.Running}},
		})
	}
	other := manifests.Key{Namespace: "default", Name: "other"}
	t.Run("what an unheard source may want goes on", func(t *testing.T) {
		api.sent = nil
		inWorld(t, func(w *world) { api = newSource("api"); running(w) }, func(w *world) {
			w.dir.wants(makePod(other, "o", v1.RestartPolicyAlways, loop))
			w.after(5 * time.Minute)
			w.runs(web, "x_a_0")
			w.runs(other, "o_a_0")
			select {
			case <-w.m.Ready():
				t.Error("it is ready before every source has spoken")
			default:
			}
			api.wants()
			w.after(5 * time.Second)
			w.gone(web)
			w.runs(other, "o_a_0")
			<-w.m.Ready()
		})
	})
	t.Run("a want of a later source waits for an earlier one", func(t *testing.T) {
		inWorld(t, func(w *world) { api = newSource("api"); running(w) }, func(w *world) {
			api.wants(makePod(web, "y", v1.RestartPolicyAlways, loop))
			w.after(5 * time.Minute)
			w.runs(web, "x_a_0")
			api.wants() // and even when it is taken back
			w.after(5 * time.Minute)
			w.runs(web, "x_a_0")
			w.dir.wants(makePod(web, "x", v1.RestartPolicyAlways, loop))
			w.after(5 * time.Minute)
			w.runs(web, "x_a_0")
		})
	})
}

func TestOnAClashTheFirstSourceWins(t *testing.T) {
	api := (*source)(nil)
	inWorld(t, func(w *world) { api = newSource("api"); w.sources = append(w.sources, api) }, func(w *world) {
		api.wants(makePod(web, "far", v1.RestartPolicyAlways, loop))
		w.dir.wants(makePod(web, "near", v1.RestartPolicyAlways, loop))
		w.after(time.Minute)
		w.runs(web, "near_a_0")
		ps := w.m.Board().Problems()
		if len(ps) != 1 || ps[0].Pod != web || ps[0].Origin.File != "/manifests/far.yaml" {
			t.Errorf("the problems are %v", ps)
		}
		w.dir.wants()
		w.after(time.Minute)
		w.runs(web, "far_a_0")
		if ps := w.m.Board().Problems(); len(ps) != 0 {
			t.Errorf("the problems are still %v", ps)
		}
	})
}

func TestAnUnknownStateIsNotAnAbsentOne(t *testing.T) {
	var broken atomic.Bool
	failing := func(w *world) {
		w.rt.Step = func(ctx context.Context, c fake.Call, at fake.Stage) error {
			if broken.Load() && (c.Verb == "Observe" || c.Verb == "Keys") {
				return errors.New("containerd is away")
			}
			return nil
		}
	}
	inWorld(t, failing, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(time.Minute)
		before, calls := w.entry(web), len(w.rt.Calls())
		broken.Store(true)
		w.after(10 * time.Minute)
		if w.entry(web) != before || len(w.rt.Calls()) != calls {
			t.Error("something was done or shown although the pod could not be seen")
		}
		broken.Store(false)
		w.after(5 * time.Second)
		w.runs(web, "v1_a_0")
	})
}

func TestAPanicHarmsNoOtherPod(t *testing.T) {
	var panics atomic.Int32
	failing := func(w *world) {
		w.rt.Step = func(ctx context.Context, c fake.Call, at fake.Stage) error {
			if c.Key == web && (c.Verb == "Start" || c.Verb == "Observe") && panics.Add(1) <= 3 {
				panic("a bug")
			}
			return nil
		}
	}
	other := manifests.Key{Namespace: "default", Name: "other"}
	inWorld(t, failing, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop), makePod(other, "o", v1.RestartPolicyAlways, loop))
		w.after(0)
		w.runs(other, "o_a_0")
		w.after(time.Minute)
		w.runs(web, "v1_a_0")
	})
}

func TestAHungStepDelaysItsPodAlone(t *testing.T) {
	hang := func(w *world) {
		w.rt.Step = func(ctx context.Context, c fake.Call, at fake.Stage) error {
			if c.Key == web && c.Verb == "Pull" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	}
	other := manifests.Key{Namespace: "default", Name: "other"}
	inWorld(t, hang, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop), makePod(other, "o", v1.RestartPolicyAlways, loop))
		w.after(0)
		w.runs(other, "o_a_0")
		w.after(time.Hour)
		w.dir.wants(makePod(other, "o", v1.RestartPolicyAlways, loop)) // the hung pull is cancelled
		w.after(0)
		w.gone(web)
	})
}

func TestLostHintsAreMadeUpForByASlowRelist(t *testing.T) {
	inWorld(t, func(w *world) { w.rt.NoHints = true }, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(time.Minute)
		w.rt.Exit(web, "a", 0)
		w.after(46 * time.Second)
		w.runs(web, "v1_a_1")
	})
}

func TestAPodDeletedByTheAPIServerHasItsGracePeriod(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyAlways, stubborn)
		w.dir.wants(p)
		w.after(time.Minute)
		w.dir.wants(deleting(p, 20))
		w.after(time.Second)
		w.dir.wants(deleting(p, 5)) // a shorter grace takes over
		w.after(4 * time.Second)
		w.runs(web, "v1_a_0")
		w.after(time.Second)
		w.takenDown(web)
		w.dir.wants()
		w.after(time.Second)
		w.gone(web)
	})
}

func TestACompletedPodGivesUpItsNetworkAndKeepsItsLogs(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyNever, []string{"exit", "0"}, []string{"exit", "4"}))
		w.after(time.Minute)
		o := w.rt.Now(web)
		if len(o.Sandboxes) != 0 || len(o.Containers) != 2 || !o.Containers[0].Sealed || !o.Containers[1].Sealed {
			t.Errorf("there is %+v", o)
		}
		if e := w.entry(web); e.Status.Phase != v1.PodFailed {
			t.Errorf("the phase is %s", e.Status.Phase)
		}
		calls := len(w.rt.Calls())
		w.crash()
		w.boot()
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyNever, []string{"exit", "0"}, []string{"exit", "4"}))
		w.after(time.Hour)
		if n := len(w.rt.Calls()); n != calls {
			t.Errorf("a completed pod is not left alone: %v", w.calls()[calls:])
		}
	})
}

func TestARebootBringsEveryPodBackButWhatWasNeverToRunTwice(t *testing.T) {
	once := manifests.Key{Namespace: "default", Name: "once"}
	inWorld(t, nil, func(w *world) {
		pods := []*manifests.Pod{
			makePod(web, "v1", v1.RestartPolicyAlways, loop), makePod(once, "o", v1.RestartPolicyNever, loop),
		}
		w.dir.wants(pods...)
		w.after(time.Hour)
		w.crash()
		w.rt.Reboot()
		w.boot()
		w.dir.wants(pods...)
		w.after(0)
		w.runs(web, "v1_a_1")
		w.runs(once)
		if s := w.entry(once).Status; s.Phase != v1.PodFailed || s.ContainerStatuses[0].State.Terminated.Reason != "ContainerStatusUnknown" {
			t.Errorf("the interrupted pod is shown as %+v", s)
		}
		if s := w.entry(web).Status.ContainerStatuses[0]; s.RestartCount != 1 || s.LastTerminationState.Terminated.ExitCode != 255 {
			t.Errorf("the pod that is back is shown as %+v", s)
		}
	})
}
