package podmgr_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/fake"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

var convergeKeys = []manifests.Key{web, {Namespace: "default", Name: "db"}}

// chaos is the adversary of one run: it draws what exists, what is wanted, what fails.
type chaos struct {
	mu    sync.Mutex // guards all: steps draw from it too
	rand  *rand.Rand
	calm  bool
	wants map[manifests.Key]*manifests.Pod
}

// n draws from 0 … below-1.
func (c *chaos) n(below int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(below)
}

// step makes calls slow, fail, hang and panic at any stage, until the storm is over.
func (c *chaos) step(ctx context.Context, _ fake.Call, _ fake.Stage) error {
	c.mu.Lock()
	calm := c.calm
	c.mu.Unlock()
	if calm {
		return nil
	}
	switch c.n(12) {
	case 0:
		return errors.New("chaos")
	case 1:
		return &podmgr.ReasonError{Reason: "ErrImagePull", Err: errors.New("chaos")}
	case 2:
		panic("chaos")
	case 3:
		return wait(ctx, time.Hour)
	case 4, 5:
		return wait(ctx, time.Duration(c.n(20_000))*time.Millisecond)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// version draws a pod, or nil.
func (c *chaos) version(k manifests.Key) *manifests.Pod {
	v := c.n(6)
	if v == 0 {
		return nil
	}
	commands := [][][]string{
		{{"run"}},
		{{"run"}, {"stubborn"}},
		{{"exit", "1", "7s"}, {"run"}, {"exit", "0"}},
		{{"run"}, {"run"}},
		{{"run"}, {"exit", "42", "90s"}},
	}[v-1]
	policy := []v1.RestartPolicy{
		v1.RestartPolicyAlways, v1.RestartPolicyOnFailure, v1.RestartPolicyNever, v1.RestartPolicyOnFailure, v1.RestartPolicyNever,
	}[v-1]
	if c.n(2) == 0 {
		policy = v1.RestartPolicyAlways
	}
	p := makePod(k, fmt.Sprintf("%s-%d-%s", k.Name, v, policy), policy, commands...)
	if v < 4 {
		return p
	}
	withInit(withInit(withInit(p, "s", "run"), "t", "exit", "0", "3s"), "s2", "stubborn")
	ok := func() *v1.Probe {
		p := asks("exit", "0")
		p.PeriodSeconds = 60
		return p
	}
	with(p, "a", func(c *v1.Container) {
		c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = ok(), ok(), ok()
		c.Lifecycle = &v1.Lifecycle{PostStart: command("exit", "0", "2s"), PreStop: command("exit", "0", "1s")}
	})
	with(p, "s", func(c *v1.Container) {
		c.StartupProbe = ok()
		c.Lifecycle = &v1.Lifecycle{PreStop: command("exit", "1", "4s")}
	})
	if v == 5 {
		with(p, "b", func(c *v1.Container) {
			c.RestartPolicy = new(v1.ContainerRestartPolicyNever)
			c.RestartPolicyRules = []v1.ContainerRestartRule{{
				Action: v1.ContainerRestartRuleActionRestartAllContainers,
				ExitCodes: &v1.ContainerRestartRuleOnExitCodes{
					Operator: v1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42},
				},
			}}
		})
	}
	return p
}

// past draws what exists of a key when the agent starts for the first time.
func (c *chaos) past(k manifests.Key) (o podmgr.Observed) {
	for range c.n(3) {
		uid := types.UID(k.Name + "-stranger-" + fmt.Sprint(c.n(2)))
		if p := c.version(k); p != nil && c.n(2) == 0 {
			uid = p.UID()
		}
		if slices.Contains(o.Remains, uid) {
			continue
		}
		o.Remains = append(o.Remains, uid)
		if c.n(3) > 0 {
			o.Sandboxes = append(o.Sandboxes, podmgr.Sandbox{
				ID: string(uid) + "_sandbox", UID: uid, State: podmgr.SandboxState(c.n(3)), Created: time.Now().Add(-time.Hour),
			})
		}
		for i := range c.n(5) {
			name := []string{"a", "b", "c", "s", "t"}[c.n(5)]
			inst := podmgr.Container{
				ID: fmt.Sprintf("%s_%s_%d", uid, name, i), UID: uid, Name: name, Attempt: i, State: podmgr.ContainerState(c.n(4)),
				Created: time.Now().Add(-time.Duration(c.n(7200)) * time.Second), Grace: time.Duration(c.n(60)) * time.Second,
				Backoff: time.Duration(c.n(300)) * time.Second, ExitCode: int32(c.n(2)),
			}
			inst.Started = inst.Created
			if inst.State.Ended() {
				inst.Sealed = c.n(2) == 0
			}
			if inst.State == podmgr.Exited {
				inst.Finished = inst.Created.Add(time.Duration(c.n(3600)) * time.Second)
			}
			o.Containers = append(o.Containers, inst)
		}
	}
	return o
}

// act lets one thing happen.
func (c *chaos) act(w *world) {
	k := convergeKeys[c.n(len(convergeKeys))]
	switch c.n(14) {
	case 12:
		_ = w.m.Restart(w.t.Context(), k) // it may not be there
	case 13:
		w.rt.Exit(k, []string{"s", "t", "s2"}[c.n(3)], int32(c.n(2)))
	case 0, 1:
		c.wants[k] = c.version(k)
		c.send(w)
	case 2:
		if p := c.wants[k]; p != nil {
			c.wants[k] = c.served(p)
		}
		c.send(w)
	case 3:
		w.rt.Exit(k, string(rune('a'+c.n(3))), int32(c.n(2)))
	case 4:
		w.rt.KillShim(k)
	case 5:
		w.rt.SetSandbox(k, podmgr.SandboxState(c.n(3)))
	case 6:
		if o := w.rt.Now(k); len(o.Containers) > 0 {
			w.rt.Delete(o.Containers[c.n(len(o.Containers))].ID)
		}
	case 7:
		w.crash()
		w.boot()
		c.send(w)
	case 8:
		w.crash()
		w.rt.Reboot()
		w.boot()
		c.send(w)
	case 9:
		w.rt.RemoveImage("app")
	default:
		w.after(time.Duration(c.n(100_000)) * time.Millisecond)
	}
}

// served is the pod after something that only an API server does to one.
func (c *chaos) served(p *manifests.Pod) *manifests.Pod {
	switch c.n(4) {
	case 0:
		return deleting(p, int64(c.n(60)))
	case 1:
		if len(p.Object.Spec.EphemeralContainers) > 0 {
			return p
		}
		return debugged(p, "e", [][]string{{"run"}, {"exit", "1", "9s"}, {"stubborn"}}[c.n(3)]...)
	case 2:
		return edited(p, func(s *v1.PodSpec) { s.Containers[0].Image = []string{"app", "other"}[c.n(2)] })
	default:
		return edited(p, func(s *v1.PodSpec) {
			s.Containers[0].Resources = given([]string{"1", "2"}[c.n(2)], []string{"1Gi", "2Gi"}[c.n(2)])
			if c.n(2) == 0 {
				restartsFor(v1.ResourceMemory)(&s.Containers[0])
			}
		})
	}
}

func (c *chaos) send(w *world) {
	var pods []*manifests.Pod
	for _, p := range c.wants {
		if p != nil {
			pods = append(pods, p)
		}
	}
	w.dir.wants(pods...)
}

// converged says what of a pod is not as wanted.
func converged(want *manifests.Pod, o podmgr.Observed) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	uid := types.UID("")
	if want != nil && want.Object.DeletionTimestamp != nil {
		want = nil
	}
	if want != nil {
		uid = want.UID()
	}
	for _, s := range o.Sandboxes {
		if s.UID != uid || s.State != podmgr.SandboxReady {
			say("sandbox %+v", s)
		}
	}
	for _, r := range o.Remains {
		if r != uid {
			say("remains of %s", r)
		}
	}
	instances, live := map[string]int{}, map[string]int{}
	for _, c := range o.Containers {
		instances[c.Name]++
		if c.State == podmgr.Running {
			live[c.Name]++
		}
		if c.UID != uid || c.State == podmgr.Created || (c.State.Ended() && !c.Sealed) {
			say("container %+v", c)
		}
	}
	if want == nil {
		return wrong
	}
	spec := &want.Object.Spec
	mainLives, everRan := false, true
	for i, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		name, isInit := c.Name, i < len(spec.InitContainers)
		last := podmgr.Container{Attempt: -1}
		for _, c := range o.Containers {
			if c.Name == name && c.Attempt > last.Attempt {
				last = c
			}
		}
		policy, ends := spec.RestartPolicy, c.Command[0] == "exit"
		if last.State == podmgr.Running && !isInit && (last.Resources != nil && *last.Resources != podmgr.ResourcesOf(&c.Resources) ||
			last.Image != "" && last.Image != c.Image) {
			say("container %s has %+v and runs %s", name, last.Resources, last.Image)
		}
		if c.RestartPolicy != nil {
			policy = v1.RestartPolicy(*c.RestartPolicy)
		}
		mayHaveEnded := policy == v1.RestartPolicyNever || policy == v1.RestartPolicyOnFailure && last.ExitCode == 0
		switch {
		case instances[name] > 2:
			say("container %s has %d instances", name, instances[name])
		case live[name] > 1:
			say("container %s runs %d times", name, live[name])
		case isInit:
			everRan = everRan && !(last.State.Ended() && last.ExitCode != 0 && policy == v1.RestartPolicyNever)
		case instances[name] == 0 && everRan:
			say("container %s was never started", name)
		case live[name] == 0 && !ends && !mayHaveEnded && everRan:
			say("container %s does not run", name)
		}
		mainLives = mainLives || !isInit && live[name] > 0
		delete(instances, name)
	}
	for _, c := range spec.InitContainers {
		if sidecar := c.Name[0] == 's'; sidecar && mainLives != (live[c.Name] > 0) {
			say("sidecar %s runs %d times, and a main container: %v", c.Name, live[c.Name], mainLives)
		}
	}
	if len(spec.EphemeralContainers) > 0 {
		delete(instances, "e")
	}
	for name := range instances {
		say("container %s is not in the spec", name)
	}
	return wrong
}

// FuzzConverge lets the pod manager start on any state of the world and lets anything happen to it. When the storm is
// over, what is wanted runs, once, and nothing else is left. The fake watches meanwhile that nothing of two versions
// overlaps, no container runs twice, and no law of the runtime is broken.
func FuzzConverge(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, acts uint8) {
		c := &chaos{rand: rand.New(rand.NewPCG(seed, 0)), wants: map[manifests.Key]*manifests.Pod{}}
		prepare := func(w *world) {
			w.rt.Step = c.step
			w.rt.NoHints = c.n(4) == 0
			for _, k := range convergeKeys {
				w.rt.Put(k, c.past(k))
				c.wants[k] = c.version(k)
			}
		}
		inWorld(t, prepare, func(w *world) {
			c.send(w)
			for range acts % 64 {
				c.act(w)
			}
			c.mu.Lock()
			c.calm = true
			c.mu.Unlock()
			w.after(4 * time.Hour) // hung steps, the longest back-offs, the crash loops
			for _, k := range convergeKeys {
				wrong := converged(c.wants[k], w.rt.Now(k))
				for try := 0; len(wrong) > 0 && try < 3; try++ {
					w.after(50 * time.Second) // a container that ends all the time may just have ended, without a hint
					wrong = converged(c.wants[k], w.rt.Now(k))
				}
				if len(wrong) > 0 {
					uid := types.UID("nothing")
					if p := c.wants[k]; p != nil {
						uid = p.UID()
					}
					t.Errorf("%s did not converge to %s: %v\nof %+v", k, uid, wrong, w.rt.Now(k))
				}
				e, shown := w.m.Board().Get(k)
				if shown != (c.wants[k] != nil) {
					t.Errorf("%s is on the board: %v", k, shown)
				}
				if deleted := shown && c.wants[k].Object.DeletionTimestamp != nil; shown && e.Gone != deleted {
					t.Errorf("%s is said to be gone: %v", k, e.Gone)
				}
			}
			select {
			case <-w.m.Ready():
			default:
				t.Error("it never became ready")
			}
		})
	})
}
