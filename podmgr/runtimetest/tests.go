package runtimetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

func (s *suite) nothing() {
	p := s.pod("nothing", Program{})
	if o := s.observe(p); len(o.Containers)+len(o.Sandboxes)+len(o.Remains) > 0 {
		s.t.Errorf("of a pod that never was there is %+v", o)
	}
	if s.knows(p) {
		s.t.Error("Keys has a pod that never was")
	}
	const id = "00000000000000000000000000000000000000000000000000000000000000ff"
	s.must(s.Runtime.Stop(s.ctx, id, time.Second))
	s.must(s.Runtime.Seal(s.ctx, id))
	s.must(s.Runtime.Remove(s.ctx, id))
	s.must(s.Runtime.RemoveSandbox(s.ctx, id))
	s.must(s.Runtime.Forget(s.ctx, p.Key(), p.UID()))
}

func (s *suite) knows(p *manifests.Pod) bool {
	s.t.Helper()
	keys, err := s.Runtime.Keys(s.ctx)
	s.must(err)
	return slices.Contains(keys, p.Key())
}

func (s *suite) imageHere() {
	p := s.pod("image-here", Program{})
	for _, policy := range []v1.PullPolicy{v1.PullIfNotPresent, v1.PullNever} {
		r, err := s.Runtime.Pull(s.ctx, p, s.Image, podmgr.PullPolicy(policy))
		s.must(err)
		if r.ImageID == "" || r.Pulled || r.Note != "" {
			s.t.Errorf("with policy %s pulling an image that is here returns %+v", policy, r)
		}
	}
}

func (s *suite) imageMissing() {
	p := s.pod("image-missing", Program{})
	for policy, want := range map[v1.PullPolicy]string{
		v1.PullIfNotPresent: "ErrImagePull",
		v1.PullAlways:       "ErrImagePull",
		v1.PullNever:        "ErrImageNeverPull",
	} {
		_, err := s.Runtime.Pull(s.ctx, p, s.Missing, podmgr.PullPolicy(policy))
		if re := (*podmgr.ReasonError)(nil); !errors.As(err, &re) || re.Reason != want {
			s.t.Errorf("with policy %s pulling an image that cannot be had returns %v, want reason %s", policy, err, want)
		}
	}
}

func (s *suite) sandbox() {
	p := s.pod("sandbox", Program{})
	before := time.Now().Add(-time.Second)
	s.sandboxOf(p)
	first := s.observe(p)
	if len(first.Sandboxes) != 1 {
		s.t.Fatalf("there are %d sandboxes", len(first.Sandboxes))
	}
	sb := first.Sandboxes[0]
	if sb.UID != p.UID() || sb.State != podmgr.SandboxReady || sb.Created.Before(before) || sb.ID == "" {
		s.t.Errorf("the sandbox is %+v", sb)
	}
	if (len(sb.IPs) == 0) != s.HostNetwork {
		s.t.Errorf("the sandbox has the addresses %v", sb.IPs)
	}
	if !slices.Contains(first.Remains, p.UID()) || !s.knows(p) {
		s.t.Errorf("the pod is not known to exist: %+v", first)
	}
	s.must(s.Runtime.EnsureSandbox(s.ctx, p))
	if d := cmp.Diff(first, s.observe(p)); d != "" {
		s.t.Errorf("ensuring it again changed (-first +second):\n%s", d)
	}
}

func (s *suite) startTwice() {
	p := s.pod("start", Program{Kind: Loop})
	s.sandboxOf(p)
	i := podmgr.Instance{Container: "a", Attempt: 4, Backoff: 80 * time.Second}
	s.must(s.Runtime.Start(s.ctx, p, i))
	first := s.observe(p)
	if len(first.Containers) != 1 {
		s.t.Fatalf("there are the containers %+v", first.Containers)
	}
	c := first.Containers[0]
	if c.State != podmgr.Running || c.UID != p.UID() || c.Name != "a" || c.Attempt != 4 || c.Backoff != i.Backoff ||
		c.Grace != 20*time.Second || c.Image != s.Image || c.ImageID == "" || c.Started.IsZero() || c.Created.IsZero() ||
		!c.Finished.IsZero() || c.Sealed || c.Reason != "" || c.LogPath == "" {
		s.t.Errorf("the container is %+v", c)
	}
	s.must(s.Runtime.Start(s.ctx, p, i))
	if d := cmp.Diff(first, s.observe(p)); d != "" {
		s.t.Errorf("starting it again changed (-first +second):\n%s", d)
	}
}

func (s *suite) exit() {
	p := s.pod("exit", Program{Kind: Exit, Code: 3})
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	hints := s.Runtime.Events(ctx)
	s.up(p)
	s.awaitHint(p, hints)
	c := s.await(p, "a", 0, ended)
	if c.State != podmgr.Exited || c.ExitCode != 3 || c.Reason != "Error" || c.Started.IsZero() || c.Finished.Before(c.Started) || c.Sealed {
		s.t.Errorf("the container is %+v", c)
	}
	s.must(s.Runtime.Seal(s.ctx, c.ID))
	s.must(s.Runtime.Seal(s.ctx, c.ID))
	c.Sealed = true
	if d := cmp.Diff(c, s.instance(p, "a", 0)); d != "" {
		s.t.Errorf("the seal changed (-before +after):\n%s", d)
	}
	s.must(s.Runtime.Remove(s.ctx, c.ID))
	s.must(s.Runtime.Remove(s.ctx, c.ID))
	if o := s.observe(p); len(o.Containers) > 0 {
		s.t.Errorf("a removed container is still there: %+v", o.Containers)
	}
}

// awaitHint reads hints until one tells to look at the pod after its container has ended. Hints may be lost, but not
// every time in a quiet place.
func (s *suite) awaitHint(p *manifests.Pod, hints <-chan manifests.Key) {
	s.t.Helper()
	timeout := time.After(s.Patience)
	for {
		select {
		case k := <-hints:
			if (k == p.Key() || k == manifests.Key{}) && s.instance(p, "a", 0).State.Ended() {
				return
			}
		case <-timeout:
			s.t.Fatal("there was no hint at the exit")
		}
	}
}

func (s *suite) exitZero() {
	p := s.pod("exit-zero", Program{Kind: Exit})
	s.up(p)
	if c := s.await(p, "a", 0, ended); c.State != podmgr.Exited || c.ExitCode != 0 || c.Reason != "Completed" {
		s.t.Errorf("the container is %+v", c)
	}
}

func (s *suite) startEnded() {
	p := s.pod("start-ended", Program{Kind: Exit, Code: 1})
	s.up(p)
	c := s.await(p, "a", 0, ended)
	s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "a"}))
	s.must(s.Runtime.Seal(s.ctx, c.ID))
	s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "a"}))
	c.Sealed = true
	if d := cmp.Diff(c, s.instance(p, "a", 0)); d != "" {
		s.t.Errorf("starting an ended attempt changed (-before +after):\n%s", d)
	}
}

func (s *suite) nextAttempt() {
	p := s.pod("next-attempt", Program{Kind: Exit, Code: 1})
	s.up(p)
	first := s.await(p, "a", 0, ended)
	s.must(s.Runtime.Seal(s.ctx, first.ID))
	s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "a", Attempt: 1, Backoff: 10 * time.Second}))
	second := s.await(p, "a", 1, ended)
	if second.ID == first.ID || second.Backoff != 10*time.Second {
		s.t.Errorf("the second instance is %+v", second)
	}
	first.Sealed = true
	if d := cmp.Diff([]podmgr.Container{first, second}, s.observe(p).Containers); d != "" {
		s.t.Errorf("the instances are not as expected, sorted by attempt (-want +got):\n%s", d)
	}
}

func (s *suite) stop() {
	p := s.pod("stop", Program{Kind: Loop})
	s.up(p)
	s.settleIn()
	id := s.instance(p, "a", 0).ID
	began := time.Now()
	s.must(s.Runtime.Stop(s.ctx, id, s.Patience))
	if took := time.Since(began); took >= s.Patience {
		s.t.Errorf("the stop took %v", took)
	}
	c := s.instance(p, "a", 0)
	if c.State != podmgr.Exited || c.Finished.IsZero() {
		s.t.Errorf("after the stop the container is %+v", c)
	}
	s.must(s.Runtime.Stop(s.ctx, id, s.Patience))
}

func (s *suite) stopStubborn() {
	p := s.pod("stubborn", Program{Kind: Stubborn})
	s.up(p)
	s.settleIn()
	began := time.Now()
	s.must(s.Runtime.Stop(s.ctx, s.instance(p, "a", 0).ID, time.Second))
	if took := time.Since(began); took < time.Second {
		s.t.Errorf("it was killed after %v, before its grace was over", took)
	}
	if c := s.instance(p, "a", 0); c.State != podmgr.Exited || c.ExitCode != 137 {
		s.t.Errorf("after the stop the container is %+v", c)
	}
}

// settleIn gives a real program the time to set up its signal handlers.
func (s *suite) settleIn() { time.Sleep(300 * time.Millisecond) }

func (s *suite) stopCancelled() {
	p := s.pod("stop-cancelled", Program{Kind: Stubborn})
	s.up(p)
	s.settleIn()
	id := s.instance(p, "a", 0).ID
	ctx, cancel := context.WithTimeout(s.ctx, 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Runtime.Stop(ctx, id, s.Patience); err == nil {
		s.t.Error("a stop that was cancelled within its grace returned nil")
	}
	if took := time.Since(began); took >= s.Patience {
		s.t.Errorf("the cancelled stop took %v", took)
	}
	if c := s.instance(p, "a", 0); c.State != podmgr.Running {
		s.t.Errorf("the cancelled stop left %+v", c)
	}
	s.must(s.Runtime.Stop(s.ctx, id, 0))
	if c := s.instance(p, "a", 0); !c.State.Ended() {
		s.t.Errorf("the second stop left %+v", c)
	}
}

func (s *suite) removeRunning() {
	p := s.pod("remove-running", Program{Kind: Loop})
	s.up(p)
	c := s.instance(p, "a", 0)
	if err := s.Runtime.Remove(s.ctx, c.ID); err == nil {
		s.t.Error("removing a running container returned nil")
	}
	if d := cmp.Diff(c, s.instance(p, "a", 0)); d != "" {
		s.t.Errorf("the refused removal changed (-before +after):\n%s", d)
	}
}

func (s *suite) startCancelled() {
	p := s.pod("start-cancelled", Program{Kind: Loop})
	s.sandboxOf(p)
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(s.ctx, after)
		_ = s.Runtime.Start(ctx, p, podmgr.Instance{Container: "a"}) // whatever became of it
		cancel()
	}
	s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "a"}))
	if o := s.observe(p); len(o.Containers) != 1 || o.Containers[0].State != podmgr.Running {
		s.t.Errorf("after the repeated start there is %+v", o.Containers)
	}
}

func (s *suite) sandboxCancelled() {
	p := s.pod("sandbox-cancelled", Program{Kind: Loop})
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(s.ctx, after)
		_ = s.Runtime.EnsureSandbox(ctx, p) // whatever became of it
		cancel()
	}
	s.up(p)
	o := s.observe(p)
	if len(o.Sandboxes) != 1 || o.Sandboxes[0].State != podmgr.SandboxReady || len(o.Containers) != 1 {
		s.t.Errorf("after the repeated call there is %+v", o)
	}
}

func (s *suite) sideBySide() {
	p := s.pod("side-by-side", Program{}, Program{}, Program{})
	s.sandboxOf(p)
	var group sync.WaitGroup
	errs := make([]error, 3)
	for i, name := range []string{"a", "b", "c"} {
		group.Go(func() { errs[i] = s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: name}) })
	}
	group.Wait()
	s.must(errors.Join(errs...))
	for _, name := range []string{"a", "b", "c"} {
		if c := s.instance(p, name, 0); c.State != podmgr.Running {
			s.t.Errorf("the container is %+v", c)
		}
	}
}

func (s *suite) manyPods() {
	pods := []*manifests.Pod{s.pod("many-1", Program{}), s.pod("many-2", Program{}), s.pod("many-3", Program{})}
	var group sync.WaitGroup
	errs := make([]error, len(pods))
	for i, p := range pods {
		group.Go(func() {
			_, pullErr := s.Runtime.Pull(s.ctx, p, s.Image, podmgr.PullPolicy(v1.PullIfNotPresent))
			ensureErr := s.Runtime.EnsureSandbox(s.ctx, p)
			errs[i] = errors.Join(pullErr, ensureErr, s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "a"}))
		})
	}
	group.Wait()
	s.must(errors.Join(errs...))
	before := s.observe(pods[1])
	s.down(pods[0])
	s.down(pods[2])
	if d := cmp.Diff(before, s.observe(pods[1])); d != "" {
		s.t.Errorf("taking down two pods changed a third (-before +after):\n%s", d)
	}
	if !s.knows(pods[1]) || s.knows(pods[0]) || s.knows(pods[2]) {
		s.t.Error("Keys does not have exactly the pod that is left")
	}
}

func (s *suite) takedown() {
	p := s.pod("takedown", Program{Kind: Loop}, Program{Kind: Exit})
	s.up(p)
	s.down(p)
	if o := s.observe(p); len(o.Containers)+len(o.Sandboxes)+len(o.Remains) > 0 {
		s.t.Errorf("there is left %+v", o)
	}
	if s.knows(p) {
		s.t.Error("Keys still has the pod")
	}
	s.up(p) // and it can come back
	if c := s.instance(p, "a", 0); c.State != podmgr.Running {
		s.t.Errorf("after it came back the container is %+v", c)
	}
}

func (s *suite) reopen() {
	if s.Reopen == nil {
		s.t.Log("the adapter keeps nothing outside its process: there is nothing to reopen")
		return
	}
	p := s.pod("reopen", Program{Kind: Loop}, Program{Kind: Exit, Code: 7}, Program{Kind: Exit, Code: 8})
	s.up(p)
	sealed := s.await(p, "b", 0, ended)
	s.await(p, "c", 0, ended)
	s.must(s.Runtime.Seal(s.ctx, sealed.ID))
	before := s.observe(p)
	s.Runtime = s.Reopen(s.t, 0)
	if d := cmp.Diff(before, s.observe(p)); d != "" {
		s.t.Errorf("the new agent sees otherwise (-before +after):\n%s", d)
	}
	s.must(s.Runtime.Stop(s.ctx, s.instance(p, "a", 0).ID, s.Patience))
}
