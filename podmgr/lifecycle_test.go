package podmgr_test

import (
	"context"
	"errors"
	"fmt"
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

// withInit puts init containers before those of a pod; a name that begins with s is a sidecar's.
func withInit(p *manifests.Pod, name string, command ...string) *manifests.Pod {
	c := v1.Container{Name: name, Image: "app", Command: command, ImagePullPolicy: v1.PullIfNotPresent}
	if name[0] == 's' {
		c.RestartPolicy = new(v1.ContainerRestartPolicyAlways)
	}
	p.Object.Spec.InitContainers = append(p.Object.Spec.InitContainers, c)
	return p
}

// with changes a container of a pod.
func with(p *manifests.Pod, name string, change func(*v1.Container)) *manifests.Pod {
	for _, list := range [][]v1.Container{p.Object.Spec.InitContainers, p.Object.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				change(&list[i])
			}
		}
	}
	return p
}

func command(args ...string) *v1.LifecycleHandler {
	return &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: args}}
}

func preStop(args ...string) func(*v1.Container) {
	return func(c *v1.Container) {
		c.Lifecycle = &v1.Lifecycle{PreStop: command(args...)}
	}
}

func postStart(args ...string) func(*v1.Container) {
	return func(c *v1.Container) {
		c.Lifecycle = &v1.Lifecycle{PostStart: command(args...)}
	}
}

// did are the calls of some verbs since the test began, with their times; what began together is sorted.
func (w *world) did(began time.Time, verbs ...string) (s []string) {
	var last fake.Call
	run := 0
	for _, c := range w.rt.Calls() {
		if !slices.Contains(verbs, c.Verb) {
			continue
		}
		line := fmt.Sprintf("%v %s %s#%d", c.At.Sub(began), c.Verb, c.Container, c.Attempt)
		switch c.Verb {
		case "Exec":
			line += " " + c.Target
		case "Stop":
			line += fmt.Sprintf(" within %v", c.Grace)
		}
		if c.Verb != last.Verb || !c.At.Equal(last.At) {
			run = len(s)
		}
		if c.Verb == "Start" && slices.Contains(s[run:], line) {
			continue // it came before the sandbox, was refused, and came again
		}
		s, last = append(s, line), c
		slices.Sort(s[run:])
	}
	return s
}

func (w *world) expect(want, got []string) {
	w.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("calls (-want +got):\n%s", d)
	}
}

// initialized is a pod with a sidecar, an init container that takes 5 s, and two main containers.
func initialized(uid string, policy v1.RestartPolicy, commands ...[]string) *manifests.Pod {
	p := makePod(web, uid, policy, commands...)
	return withInit(withInit(p, "s", "run"), "t", "exit", "0", "5s")
}

func TestInitContainersComeBeforeTheMainOnesAndSidecarsGoAfterThem(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		w.dir.wants(initialized("v1", v1.RestartPolicyAlways, loop, loop))
		w.after(time.Minute)
		w.expect([]string{"0s Start s#0", "0s Start t#0", "5s Start a#0", "5s Start b#0"}, w.did(began, "Start"))
		w.runs(web, "v1_a_0", "v1_b_0", "v1_s_0")
		w.dir.wants()
		w.after(time.Minute)
		w.expect([]string{"1m0s Stop a#0 within 30s", "1m0s Stop b#0 within 30s", "1m0s Stop s#0 within 30s"}, w.did(began, "Stop"))
		w.gone(web)
	})
}

func TestTheWholePodHasOneGracePeriod(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := withInit(withInit(makePod(web, "v1", v1.RestartPolicyAlways, stubborn), "s1", "stubborn"), "s2", "run")
		began := time.Now()
		w.dir.wants(p)
		w.after(time.Minute)
		w.dir.wants()
		w.after(time.Minute)
		w.expect([]string{
			"1m0s Stop a#0 within 30s", "1m30s Stop s1#0 within 2s", "1m30s Stop s2#0 within 2s",
		}, w.did(began, "Stop"))
		w.gone(web)
	})
}

func TestAfterARestartOfTheAgentAPodWithoutAManifestIsStillTakenDownInOrder(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		w.dir.wants(with(initialized("v1", v1.RestartPolicyAlways, loop), "a", preStop("exit", "0", "4s")))
		w.after(time.Minute)
		w.crash()
		w.boot()
		w.dir.wants()
		w.after(time.Minute)
		w.expect([]string{
			"1m0s Exec a#0 exit 0 4s", "1m4s Stop a#0 within 26s", "1m4s Stop s#0 within 26s",
		}, w.did(began, "Exec", "Stop"))
		w.gone(web)
	})
}

func TestARestartOfTheAgentRunsNoInitContainerAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := initialized("v1", v1.RestartPolicyAlways, loop)
		w.dir.wants(p)
		for range 8 { // once in each second of the way up
			w.after(time.Second)
			w.crash()
			w.boot()
			w.dir.wants(p)
		}
		w.after(time.Minute)
		before := w.entry(web)
		w.crash()
		w.boot()
		w.dir.wants(p)
		w.after(time.Minute)
		if d := cmp.Diff(before.Status, w.entry(web).Status); d != "" {
			t.Errorf("the restart changed the status (-before +after):\n%s", d)
		}
		if d := cmp.Diff([]string{"v1_a_0", "v1_s_0", "v1_t_0"}, w.instances(web)); d != "" {
			t.Errorf("instances (-want +got):\n%s", d)
		}
	})
}

// instances are the IDs of all that is there of a pod.
func (w *world) instances(k manifests.Key) (ids []string) {
	for _, c := range w.rt.Now(k).Containers {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestARebootRunsTheInitContainersAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := initialized("v1", v1.RestartPolicyAlways, loop)
		w.dir.wants(p)
		w.after(time.Hour)
		w.crash()
		w.rt.Reboot()
		w.boot()
		w.dir.wants(p)
		w.after(time.Second)
		if s := w.entry(web).Status; s.Phase != v1.PodPending || s.InitContainerStatuses[1].State.Running == nil {
			t.Errorf("after the reboot it is shown as %+v", s)
		}
		w.after(time.Minute)
		w.runs(web, "v1_a_1", "v1_s_1")
	})
}

func TestACompletedPodStaysSoWhateverHappens(t *testing.T) {
	for _, policy := range []v1.RestartPolicy{v1.RestartPolicyNever, v1.RestartPolicyOnFailure} {
		inWorld(t, nil, func(w *world) {
			p := initialized("v1", policy, []string{"exit", "0", "9s"})
			w.dir.wants(p)
			w.after(time.Minute)
			before, calls := w.entry(web), len(w.rt.Calls())
			if before.Status.Phase != v1.PodSucceeded {
				t.Fatalf("it is shown as %+v", before.Status)
			}
			for range 2 {
				w.crash()
				w.rt.Reboot()
				w.boot()
				w.dir.wants(p)
				w.after(time.Hour)
			}
			if d := cmp.Diff(before.Status, w.entry(web).Status); d != "" {
				t.Errorf("the status changed (-before +after):\n%s", d)
			}
			if n := len(w.rt.Calls()); n != calls {
				t.Errorf("it is not left alone: %v", w.calls()[calls:])
			}
			w.runs(web)
		})
	}
}

func TestAFailedInitContainerFailsAPodThatIsNeverRestarted(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := withInit(withInit(makePod(web, "v1", v1.RestartPolicyNever, loop), "s", "run"), "t", "exit", "3")
		w.dir.wants(p)
		w.after(time.Minute)
		s := w.entry(web).Status
		if s.Phase != v1.PodFailed || s.ContainerStatuses[0].State.Waiting.Reason != "PodInitializing" {
			t.Errorf("it is shown as %+v", s)
		}
		w.runs(web)
		w.crash()
		w.rt.Reboot()
		w.boot()
		w.dir.wants(p)
		w.after(time.Hour)
		if d := cmp.Diff([]string{"v1_s_0", "v1_t_0"}, w.instances(web)); d != "" {
			t.Errorf("instances (-want +got):\n%s", d)
		}
	})
}

func TestAPodHasToEndByItsDeadline(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := initialized("v1", v1.RestartPolicyAlways, loop)
		p.Object.Spec.ActiveDeadlineSeconds = new(int64(100))
		began := time.Now()
		w.dir.wants(p)
		w.after(40 * time.Second)
		started := w.entry(web).Status.StartTime
		w.crash()
		w.rt.Reboot()
		w.boot()
		w.dir.wants(p)
		w.after(59 * time.Second)
		w.runs(web, "v1_a_1", "v1_s_1")
		if now := w.entry(web).Status.StartTime; !now.Equal(started) {
			t.Errorf("it began at %v, now at %v", started, now)
		}
		w.after(time.Second)
		w.expect([]string{"1m40s Stop a#1 within 30s", "1m40s Stop s#1 within 30s"}, w.did(began, "Stop"))
		for range 2 {
			w.after(time.Hour)
			s := w.entry(web).Status
			if s.Phase != v1.PodFailed || s.Reason != "DeadlineExceeded" ||
				s.Message != "Pod was active on the node longer than the specified deadline" {
				t.Errorf("it is shown as %+v", s)
			}
			w.runs(web)
			w.crash()
			w.boot()
			w.dir.wants(p)
		}
	})
}

func TestAPersonCanHaveAPodRestarted(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := initialized("v1", v1.RestartPolicyNever, loop, []string{"exit", "0", "1s"})
		began := time.Now()
		w.dir.wants(p)
		w.after(time.Minute)
		if err := w.m.Restart(w.t.Context(), web); err != nil {
			t.Fatal(err)
		}
		w.after(time.Minute)
		w.expect([]string{
			"0s Start s#0", "0s Start t#0", "5s Start a#0", "5s Start b#0",
			"1m0s Stop a#0 within 30s", "1m0s Stop s#0 within 30s",
			"1m0s Start s#1", "1m0s Start t#1", "1m5s Start a#1", "1m5s Start b#1",
		}, w.did(began, "Start", "Stop"))
		if s := w.entry(web).Status.ContainerStatuses; s[0].RestartCount != 1 || s[1].RestartCount != 1 {
			t.Errorf("the containers are shown as %+v", s)
		}
		other := manifests.Key{Namespace: "default", Name: "other"}
		if err := w.m.Restart(w.t.Context(), other); !errors.Is(err, podmgr.ErrNoPod) {
			t.Errorf("restarting a pod that is not there returns %v", err)
		}
	})
}

func TestARestartOfAPodOutlivesTheAgent(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyNever, stubborn)
		w.dir.wants(p)
		w.after(time.Minute)
		if err := w.m.Restart(w.t.Context(), web); err != nil {
			t.Fatal(err)
		}
		w.after(time.Second)
		w.crash()
		w.boot()
		w.dir.wants(p)
		w.after(time.Minute)
		w.runs(web, "v1_a_1")
	})
}

func TestACrashLoopEndsWhenAPersonWantsARestart(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, crash))
		w.after(1300 * time.Second)
		n := w.count("Start")
		if err := w.m.Restart(w.t.Context(), web); err != nil {
			t.Fatal(err)
		}
		w.after(0)
		if now := w.count("Start"); now != n+1 {
			t.Errorf("there were %d starts, now there are %d", n, now)
		}
		w.after(10 * time.Second)
		if now := w.count("Start"); now != n+2 {
			t.Errorf("its back-off did not start over: %v", w.between("Start"))
		}
	})
}

func TestAMissingObjectIsWaitedForAndStartsTheContainerWhenItComes(t *testing.T) {
	var missing atomic.Bool
	missing.Store(true)
	fails := func(w *world) {
		w.rt.Step = func(_ context.Context, c fake.Call, at fake.Stage) error {
			if c.Verb == "Start" && at == fake.Midway && missing.Load() {
				return &podmgr.ReasonError{Reason: "CreateContainerConfigError", Err: errors.New(`configmap "settings" not found`)}
			}
			return nil
		}
	}
	inWorld(t, fails, func(w *world) {
		p := withSettings(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.bind(p, "")
		w.after(20 * time.Minute)
		waiting := v1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: `configmap "settings" not found`}
		if d := cmp.Diff(&waiting, w.entry(web).Status.ContainerStatuses[0].State.Waiting); d != "" {
			t.Errorf("it waits for (-want +got):\n%s", d)
		}
		missing.Store(false)
		w.bind(p, "one")
		w.after(0)
		w.runs(web, "v1_a_0")
	})
}

func TestChangedDataRefreshesTheVolumesAndRestartsNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := withSettings(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.bind(p, "one")
		w.after(time.Minute)
		if n := w.count("Refresh"); n != 0 {
			t.Errorf("there were %d refreshes of volumes that are up to date", n)
		}
		second := w.bind(p, "two")
		w.after(0)
		if shown := w.rt.Shown(web, "v1"); !shown.Bound.Equal(second.Bound) {
			t.Error("the volumes do not show the new data")
		}
		w.crash()
		third := w.bound(p, "three")
		w.boot()
		w.dir.wants(third)
		w.after(time.Minute)
		if shown := w.rt.Shown(web, "v1"); !shown.Bound.Equal(third.Bound) {
			t.Error("the volumes do not show the data that changed while the agent was away")
		}
		w.runs(web, "v1_a_0")
		if n := w.count("Refresh"); n != 2 {
			t.Errorf("there were %d refreshes", n)
		}
	})
}

// withSettings has a pod mount the ConfigMap settings.
func withSettings(p *manifests.Pod) *manifests.Pod {
	p.Object.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{
		ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "settings"}},
	}}}
	return p
}

// bound is the pod with the ConfigMap settings as it then is; empty: there is none.
func (w *world) bound(p *manifests.Pod, value string) *manifests.Pod {
	w.t.Helper()
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  key: " + value + "\n"
	if value == "" {
		return manifests.Bind([]*manifests.Pod{p}, nil)[0]
	}
	d := manifests.DecodeAll("settings.yaml", []byte(text), manifests.Options{})
	if len(d.Problems) > 0 || len(d.Configs) != 1 {
		w.t.Fatalf("decoding the ConfigMap: %v", d.Problems)
	}
	return manifests.Bind([]*manifests.Pod{p}, d.Configs)[0]
}

// bind makes the source want the pod with the ConfigMap as it then is.
func (w *world) bind(p *manifests.Pod, value string) *manifests.Pod {
	b := w.bound(p, value)
	w.dir.wants(b)
	return b
}
