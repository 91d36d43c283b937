package podmgr_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/fake"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// between are the times between the calls of a verb. A start that came before its sandbox was refused and came again: that
// counts once.
func (w *world) between(verb string) (gaps []time.Duration) {
	var last fake.Call
	for _, c := range w.rt.Calls() {
		if c.Verb != verb || verb == "Start" && c.At.Equal(last.At) && c.Attempt == last.Attempt {
			continue
		}
		if !last.At.IsZero() {
			gaps = append(gaps, c.At.Sub(last.At))
		}
		last = c
	}
	return gaps
}

func seconds(ns ...int) (ds []time.Duration) {
	for _, n := range ns {
		ds = append(ds, time.Duration(n)*time.Second)
	}
	return ds
}

func TestACrashLoopWaitsAsTheKubeletDoes(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, crash))
		w.after(1300 * time.Second)
		if d := cmp.Diff(seconds(0, 10, 20, 40, 80, 160, 300, 300, 300), w.between("Start")); d != "" {
			t.Errorf("times between starts (-want +got):\n%s", d)
		}
	})
}

func TestACrashLoopStartsOverAfterALongRun(t *testing.T) {
	long := func(w *world) {
		w.rt.Program = func(_ *manifests.Pod, _ string, attempt int) fake.Program {
			p := fake.Program{Ends: true, Code: 1}
			if attempt == 3 {
				p.After = 600 * time.Second
			}
			return p
		}
	}
	inWorld(t, long, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, crash))
		w.after(710 * time.Second)
		if d := cmp.Diff(seconds(0, 10, 20, 600, 10, 20, 40), w.between("Start")); d != "" {
			t.Errorf("times between starts (-want +got):\n%s", d)
		}
	})
}

func TestARestartOfTheAgentKeepsTheRemainingWait(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyAlways, crash)
		w.dir.wants(p)
		for range 20 {
			w.after(13 * time.Second)
			before := w.entry(web)
			w.crash()
			w.boot()
			w.dir.wants(p)
			w.after(time.Nanosecond)
			if d := cmp.Diff(before.Status, w.entry(web).Status); d != "" {
				t.Errorf("the restart changed the status (-before +after):\n%s", d)
			}
		}
		w.after(400 * time.Second)
		if d := cmp.Diff(seconds(0, 10, 20, 40, 80, 160, 300), w.between("Start")); d != "" {
			t.Errorf("times between starts (-want +got):\n%s", d)
		}
	})
}

func TestARestartOfTheAgentChangesNothingForARunningPod(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyAlways, loop, loop)
		w.dir.wants(p)
		w.after(time.Hour)
		w.rt.Exit(web, "b", 3)
		w.after(time.Hour)
		before, started := w.entry(web), w.count("Start")
		w.crash()
		w.after(time.Hour)
		w.boot()
		w.dir.wants(p)
		w.after(0)
		<-w.m.Ready()
		if d := cmp.Diff(before, w.entry(web), cmp.AllowUnexported(manifests.Pod{})); d != "" {
			t.Errorf("the restart changed what is shown (-before +after):\n%s", d)
		}
		if w.count("Start") != started || w.count("Stop") != 0 {
			t.Errorf("the restart touched the pod: %v", w.calls())
		}
	})
}

func TestAWrongClockHoldsNoPodBack(t *testing.T) {
	tomorrow := time.Now().AddDate(100, 0, 0)
	ended := func(w *world) {
		w.rt.Put(web, podmgr.Observed{
			Sandboxes: []podmgr.Sandbox{{ID: "v1_sandbox", UID: "v1", State: podmgr.SandboxReady}},
			Containers: []podmgr.Container{{
				ID: "v1_a_4", UID: "v1", Name: "a", Attempt: 4, State: podmgr.Exited, Sealed: true, ExitCode: 1, Reason: "Error",
				Created: tomorrow, Started: tomorrow, Finished: tomorrow, Backoff: 80 * time.Second,
			}},
			Remains: []types.UID{"v1"},
		})
	}
	inWorld(t, ended, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(79 * time.Second)
		w.runs(web)
		w.after(2 * time.Second)
		w.runs(web, "v1_a_5")
	})
}

func TestAFailingPullWaitsAsTheKubeletDoes(t *testing.T) {
	missing := func(w *world) {
		w.rt.Step = func(_ context.Context, c fake.Call, at fake.Stage) error {
			if c.Verb == "Pull" && at == fake.Before {
				return &podmgr.ReasonError{Reason: "ErrImagePull", Err: errors.New("no route to host")}
			}
			return nil
		}
	}
	inWorld(t, missing, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(time.Second)
		if r := w.entry(web).Status.ContainerStatuses[0].State.Waiting; r.Reason != "ErrImagePull" || r.Message != "no route to host" {
			t.Errorf("at first it waits for %+v", r)
		}
		w.after(2 * time.Second)
		want := v1.ContainerStateWaiting{
			Reason: "ImagePullBackOff", Message: `Back-off pulling image "app": ErrImagePull: no route to host`,
		}
		if d := cmp.Diff(&want, w.entry(web).Status.ContainerStatuses[0].State.Waiting); d != "" {
			t.Errorf("then it waits for (-want +got):\n%s", d)
		}
		w.after(1000 * time.Second)
		if d := cmp.Diff(seconds(10, 20, 40, 80, 160, 300, 300), w.between("Pull")); d != "" {
			t.Errorf("times between pulls (-want +got):\n%s", d)
		}
	})
}

func TestAStartThatFailsIsTriedAgain(t *testing.T) {
	var n atomic.Int32
	failing := func(w *world) {
		w.rt.Step = func(_ context.Context, c fake.Call, at fake.Stage) error {
			if c.Verb == "Start" && at == fake.Midway && n.Add(1) <= 3 {
				return &podmgr.ReasonError{Reason: "CreateContainerConfigError", Err: errors.New("no such key")}
			}
			return nil
		}
	}
	inWorld(t, failing, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(0)
		if r := w.entry(web).Status.ContainerStatuses[0].State.Waiting; r.Reason != "CreateContainerConfigError" || r.Message != "no such key" {
			t.Errorf("it waits for %+v", r)
		}
		w.after(10 * time.Second)
		w.runs(web, "v1_a_0")
		if d := cmp.Diff(seconds(1, 2, 4), w.between("Start")); d != "" {
			t.Errorf("times between starts (-want +got):\n%s", d)
		}
	})
}

func TestAnInstanceThatNeverRanIsACrash(t *testing.T) {
	broken := func(w *world) {
		w.rt.Program = func(*manifests.Pod, string, int) fake.Program { return fake.Program{Unstartable: true} }
	}
	inWorld(t, broken, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(35 * time.Second)
		if d := cmp.Diff(seconds(0, 10, 20), w.between("Start")); d != "" {
			t.Errorf("times between starts (-want +got):\n%s", d)
		}
		s := w.entry(web).Status.ContainerStatuses[0]
		if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" || s.LastTerminationState.Terminated.Reason != "StartError" {
			t.Errorf("it is shown as %+v", s)
		}
	})
}
