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
	"k8s.io/apimachinery/pkg/api/resource"
)

// edited is the pod as the API server shows it after a change of its spec.
func edited(p *manifests.Pod, change func(*v1.PodSpec)) *manifests.Pod {
	o := p.Object.DeepCopy()
	o.Generation++
	change(&o.Spec)
	return &manifests.Pod{Object: o, Origin: p.Origin}
}

func given(cpu, memory string) v1.ResourceRequirements {
	list := v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	return v1.ResourceRequirements{Requests: list, Limits: list}
}

// resizes makes a change of the pod's containers: their resources, in order.
func resizes(all ...v1.ResourceRequirements) func(*v1.PodSpec) {
	return func(s *v1.PodSpec) {
		for i := range all {
			s.Containers[i].Resources = all[i]
		}
	}
}

// restartsFor has a container restarted when one of its resources changes.
func restartsFor(name v1.ResourceName) func(*v1.Container) {
	return func(c *v1.Container) {
		c.ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: name, RestartPolicy: v1.RestartContainer}}
	}
}

// holds expects what the status says of a container's resources, as requested CPU and limited memory.
func (w *world) holds(name, cpu, memory string) {
	w.t.Helper()
	for _, c := range w.entry(web).Status.ContainerStatuses {
		if c.Name != name {
			continue
		}
		if c.Resources == nil || c.Resources.Requests.Cpu().String() != cpu || c.Resources.Limits.Memory().String() != memory {
			w.t.Errorf("%s has %+v, want CPU %s and memory %s", name, c.Resources, cpu, memory)
		}
	}
}

func conditionOf(e *podmgr.Entry, kind v1.PodConditionType) *v1.PodCondition {
	for i := range e.Status.Conditions {
		if c := &e.Status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}

func TestChangedResourcesAreGivenInPlace(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		p := edited(makePod(web, "v1", v1.RestartPolicyNever, loop, loop, []string{"exit", "0"}), resizes(given("1", "1Gi"), given("2", "2Gi")))
		w.dir.wants(p)
		w.after(time.Minute)
		w.holds("a", "1", "1Gi")
		calls := len(w.rt.Calls())
		p = edited(p, resizes(given("500m", "2Gi"), given("2", "2Gi"), given("1", "1Gi")))
		w.dir.wants(p)
		w.after(time.Second)
		w.holds("a", "500m", "2Gi")
		w.holds("b", "2", "2Gi")
		w.holds("c", "1", "1Gi") // it has ended: there is nothing to change
		if d := cmp.Diff([]string{"Resize default/web a"}, w.calls()[calls:]); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		e := w.reads(web, "Running, a runs, b runs, c ended with 0 Completed")
		if c := conditionOf(e, v1.PodResizeInProgress); c != nil || e.Status.ObservedGeneration != 2 {
			t.Errorf("the status is %+v", e.Status)
		}
		w.crash()
		w.boot()
		w.dir.wants(p)
		w.after(time.Minute)
		w.holds("a", "500m", "2Gi")
		w.expect([]string{"0s Start a#0", "0s Start b#0", "0s Start c#0"}, w.did(began, "Start"))
		if n := w.count("Resize"); n != 1 {
			t.Errorf("it was resized %d times", n)
		}
	})
}

func TestAResizeThatCannotBeDoneYetIsInProgress(t *testing.T) {
	inWorld(t, func(w *world) { w.rt.Used = 1 << 30 }, func(w *world) {
		p := edited(makePod(web, "v1", v1.RestartPolicyAlways, loop), resizes(given("1", "2Gi")))
		w.dir.wants(p)
		w.after(time.Minute)
		p = edited(p, resizes(given("2", "512Mi")))
		w.dir.wants(p)
		w.after(20 * time.Second)
		w.holds("a", "1", "2Gi")
		c := conditionOf(w.entry(web), v1.PodResizeInProgress)
		if c == nil || c.Reason != v1.PodReasonError || c.ObservedGeneration != 2 || !isTrue(w.entry(web).Status.Conditions, v1.PodReady) {
			t.Fatalf("the condition is %+v", c)
		}
		at := c.LastTransitionTime
		p = edited(p, resizes(given("2", "1Gi"))) // the wish is changed
		w.dir.wants(p)
		w.after(time.Second)
		w.holds("a", "2", "1Gi")
		if c := conditionOf(w.entry(web), v1.PodResizeInProgress); c != nil {
			t.Errorf("the condition of %v is still %+v", at, c)
		}
		w.runs(web, "v1_a_0")
	})
}

func TestAContainerWhosePolicySaysSoIsRestartedForItsResources(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		p := edited(makePod(web, "v1", v1.RestartPolicyOnFailure, stubborn, loop), resizes(given("1", "1Gi"), given("1", "1Gi")))
		p = with(p, "a", restartsFor(v1.ResourceMemory))
		w.dir.wants(p)
		w.after(time.Minute)
		p = edited(p, resizes(given("2", "1Gi"), given("2", "2Gi"))) // CPU alone restarts nothing
		w.dir.wants(p)
		w.after(time.Second)
		w.holds("a", "2", "1Gi")
		w.runs(web, "v1_a_0", "v1_b_0")
		p = edited(p, resizes(given("2", "2Gi"), given("2", "2Gi")))
		w.dir.wants(p)
		w.after(time.Second)
		w.holds("a", "2", "1Gi")
		if c := conditionOf(w.entry(web), v1.PodResizeInProgress); c == nil || c.Reason != "" {
			t.Errorf("the condition is %+v", c)
		}
		w.crash() // in the middle
		w.boot()
		w.dir.wants(p)
		w.after(time.Minute)
		w.holds("a", "2", "2Gi")
		w.reads(web, "Running, a runs, b runs")
		w.expect([]string{"0s Start a#0", "0s Start b#0", "1m32s Start a#1"}, w.did(began, "Start"))
		if n := w.count("Resize"); n != 1 {
			t.Errorf("it was resized %d times", n)
		}
	})
}

func TestAPodsOwnResourcesAreResized(t *testing.T) {
	var fails atomic.Int32
	script := func(w *world) {
		w.rt.Step = func(_ context.Context, c fake.Call, _ fake.Stage) error {
			if c.Verb == "Resize" && fails.Add(-1) >= 0 {
				return errors.New("not now")
			}
			return nil
		}
	}
	inWorld(t, script, func(w *world) {
		pod := func(cpu string) func(*v1.PodSpec) {
			return func(s *v1.PodSpec) { s.Resources = new(given(cpu, "1Gi")) }
		}
		p := edited(makePod(web, "v1", v1.RestartPolicyAlways, loop), pod("1"))
		w.dir.wants(p)
		w.after(time.Minute)
		fails.Store(2)
		p = edited(p, pod("2"))
		w.dir.wants(p)
		w.after(500 * time.Millisecond)
		if s := w.entry(web).Status; s.Resources.Limits.Cpu().String() != "1" || s.AllocatedResources.Cpu().String() != "2" {
			t.Errorf("the pod has %+v of %+v", s.Resources, s.AllocatedResources)
		}
		w.after(10 * time.Second)
		if s := w.entry(web).Status; s.Resources.Limits.Cpu().String() != "2" {
			t.Errorf("the pod has %+v", s.Resources)
		}
	})
}

func TestAnotherImageUnderTheSameUIDReplacesTheContainer(t *testing.T) {
	image := func(ref string) func(*v1.PodSpec) {
		return func(s *v1.PodSpec) { s.Containers[0].Image = ref }
	}
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		p := makePod(web, "v1", v1.RestartPolicyNever, loop, loop)
		w.dir.wants(p)
		w.after(time.Minute)
		p = edited(p, image("other"))
		w.dir.wants(p)
		w.after(time.Second)
		e := w.reads(web, "Running, a runs, b runs")
		if c := e.Status.ContainerStatuses[0]; c.Image != "other" || c.RestartCount != 1 || c.LastTerminationState.Terminated == nil {
			t.Errorf("its status is %+v", c)
		}
		w.expect([]string{"0s Start a#0", "0s Start b#0", "1m0s Start a#1"}, w.did(began, "Start"))
	})
	inWorld(t, nil, func(w *world) { // its back-off was for the other image
		began := time.Now()
		p := makePod(web, "v1", v1.RestartPolicyAlways, []string{"exit", "1"})
		w.dir.wants(p)
		w.after(2 * time.Minute)
		w.dir.wants(edited(p, image("other")))
		w.after(15 * time.Second)
		w.expect([]string{
			"0s Start a#0", "0s Start a#1", "10s Start a#2", "30s Start a#3", "1m10s Start a#4", "2m0s Start a#5", "2m10s Start a#6",
		}, w.did(began, "Start"))
	})
}

func TestAStatusThatComesBackEndsNoBackOff(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := with(makePod(web, "v1", v1.RestartPolicyAlways, loop), "a", func(c *v1.Container) { c.Image = "none" })
		w.rt.Remote = map[string]string{}
		w.dir.wants(p)
		for range 60 {
			w.after(time.Second)
			w.dir.wants(told(p, w.entry(web)))
		}
		if n := w.count("Pull"); n > 4 {
			t.Errorf("it was pulled %d times in a minute", n)
		}
		w.dir.wants(edited(p, func(*v1.PodSpec) {}))
		w.after(time.Second)
		if n := w.count("Pull"); n != 4 {
			t.Errorf("after a change it was pulled %d times", n)
		}
	})
}

func TestTheLongestBackOffIsConfigured(t *testing.T) {
	for period, want := range map[time.Duration]int{0: 8, 20 * time.Second: 32, time.Second: 601} {
		inWorld(t, func(w *world) { w.period = period }, func(w *world) {
			w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, []string{"exit", "1"}))
			w.after(10*time.Minute + 500*time.Millisecond)
			if n := len(w.did(time.Now(), "Start")); n < want-1 || n > want+1 {
				t.Errorf("with %v it was started %d times in 10 minutes, want about %d", period, n, want)
			}
		})
	}
}
