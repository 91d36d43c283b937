package runtimetest

import (
	"context"
	"errors"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func (s *suite) exec() {
	p := s.pod("exec", Program{Kind: Loop})
	s.up(p)
	id := s.instance(p, "a", 0).ID
	s.must(s.Runtime.Exec(s.ctx, id, podmgr.Command{Args: s.Command(Program{Kind: Exit})}))
	err := s.Runtime.Exec(s.ctx, id, podmgr.Command{Args: s.Command(Program{Kind: Exit, Code: 5})})
	if exit := (*podmgr.ExitError)(nil); !errors.As(err, &exit) || exit.Code != 5 {
		s.t.Errorf("a command that exits with 5 returns %v", err)
	}
	s.must(s.Runtime.Stop(s.ctx, id, s.Patience))
	if err := s.Runtime.Exec(s.ctx, id, podmgr.Command{Args: s.Command(Program{Kind: Exit})}); err == nil {
		s.t.Error("a command in a container that has ended returns nil")
	}
}

func (s *suite) execCancelled() {
	p := s.pod("exec-cancelled", Program{Kind: Loop})
	s.up(p)
	ctx, cancel := context.WithTimeout(s.ctx, 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := s.Runtime.Exec(ctx, s.instance(p, "a", 0).ID, podmgr.Command{Args: s.Command(Program{Kind: Stubborn})})
	if !errors.Is(err, context.DeadlineExceeded) {
		s.t.Errorf("the command that was given up returns %v", err)
	}
	if took := time.Since(began); took >= s.Patience {
		s.t.Errorf("giving the command up took %v", took)
	}
	if c := s.instance(p, "a", 0); c.State != podmgr.Running {
		s.t.Errorf("giving the command up left %+v", c)
	}
}

func (s *suite) ephemeral() {
	p := s.pod("ephemeral", Program{Kind: Loop}, Program{Kind: Loop})
	s.up(p)
	p = &manifests.Pod{Object: p.Object.DeepCopy(), Origin: p.Origin}
	for name, target := range map[string]string{"alone": "", "beside": "b", "lost": "nowhere"} {
		p.Object.Spec.EphemeralContainers = append(p.Object.Spec.EphemeralContainers, v1.EphemeralContainer{
			TargetContainerName: target,
			EphemeralContainerCommon: v1.EphemeralContainerCommon{
				Name: name, Image: s.Image, Command: s.Command(Program{Kind: Loop}), ImagePullPolicy: v1.PullIfNotPresent,
			},
		})
	}
	s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "alone"}))
	s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "beside"}))
	err := s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "lost"})
	if reason := (*podmgr.ReasonError)(nil); !errors.As(err, &reason) || reason.Reason != "CreateContainerConfigError" {
		s.t.Errorf("an ephemeral container whose target does not exist starts with %v", err)
	}
	seen := map[string]string{}
	for _, name := range []string{"a", "b", "alone", "beside"} {
		c := s.instance(p, name, 0)
		if c.State != podmgr.Running {
			s.t.Errorf("container %s is %+v", name, c)
		}
		if s.Processes != nil {
			seen[name] = s.Processes(s.t, c.ID)
		}
	}
	if s.Processes != nil && (seen["beside"] != seen["b"] || seen["alone"] == seen["a"] || seen["a"] == seen["b"]) {
		s.t.Errorf("the PID namespaces are %v", seen)
	}
	// Its end does not end the target, and it can be ended without it.
	s.must(s.Runtime.Stop(s.ctx, s.instance(p, "beside", 0).ID, s.Patience))
	if c := s.instance(p, "b", 0); c.State != podmgr.Running {
		s.t.Errorf("the target is %+v", c)
	}
}

func (s *suite) resize() {
	p := s.pod("resize", Program{Kind: Loop}, Program{Kind: Loop}, Program{Kind: Exit})
	give := func(cpu, memory int64) *manifests.Pod {
		o := p.Object.DeepCopy()
		for i := range o.Spec.Containers {
			limits := v1.ResourceList{
				v1.ResourceCPU:    *resource.NewMilliQuantity(cpu, resource.DecimalSI),
				v1.ResourceMemory: *resource.NewQuantity(memory<<20, resource.BinarySI),
			}
			o.Spec.Containers[i].Resources = v1.ResourceRequirements{Limits: limits, Requests: limits}
		}
		return &manifests.Pod{Object: o, Origin: p.Origin}
	}
	expect := func(name string, cpu, memory, times int64) {
		s.t.Helper()
		want := podmgr.Resources{CPURequest: cpu, CPULimit: cpu, MemoryRequest: memory << 20, MemoryLimit: memory << 20}
		if name != "" {
			if c := s.instance(p, name, 0); c.Resources == nil || *c.Resources != want {
				s.t.Errorf("container %s was given %+v, want %+v", name, c.Resources, want)
			}
		}
		if s.Limits != nil {
			want = podmgr.Resources{CPULimit: times * cpu, MemoryLimit: times * memory << 20}
			if is := s.Limits(s.t, p, name); is != want {
				s.t.Errorf("the cgroup of %q has %+v, want %+v", name, is, want)
			}
		}
	}
	p = give(100, 64)
	s.up(p)
	s.await(p, "c", 0, ended)
	expect("a", 100, 64, 1)
	expect("", 100, 64, 3)
	for _, step := range []struct{ cpu, memory int64 }{{300, 96}, {50, 128}, {50, 32}} {
		p = give(step.cpu, step.memory)
		s.must(s.Runtime.Resize(s.ctx, p, []string{"a", "b", "c", "none"}))
		s.must(s.Runtime.Resize(s.ctx, p, []string{"a", "b"}))
		expect("a", step.cpu, step.memory, 1)
		expect("b", step.cpu, step.memory, 1)
		expect("", step.cpu, step.memory, 3)
	}
	if c := s.instance(p, "c", 0); c.Resources == nil || c.Resources.CPULimit != 100 {
		s.t.Errorf("a container that has ended was given %+v", c.Resources)
	}
	before := s.observe(p)
	if s.Reopen != nil {
		s.Runtime = s.Reopen(s.t, 0)
	}
	if d := cmp.Diff(before, s.observe(p)); d != "" {
		s.t.Errorf("a new agent sees another pod (-before +after):\n%s", d)
	}
	// The pod's cgroup has to make room for a container that begins with more.
	p = give(200, 256)
	p.Object.Generation = 2
	s.must(s.Runtime.Seal(s.ctx, s.instance(p, "c", 0).ID))
	s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: "c", Attempt: 1}))
	if s.Limits != nil {
		if is := s.Limits(s.t, p, ""); is.MemoryLimit < 256<<20 || is.CPULimit < 200 {
			s.t.Errorf("the pod's cgroup has %+v", is)
		}
	}
}

// hogs is a pod that is given too little memory.
func (s *suite) hogs(name string) *manifests.Pod {
	p := s.pod(name, Program{Kind: Hog}, Program{Kind: HogChild, Code: 3})
	for i := range p.Object.Spec.Containers {
		p.Object.Spec.Containers[i].Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("16Mi")}
	}
	s.up(p)
	return p
}

func (s *suite) killed(p *manifests.Pod) {
	s.t.Helper()
	for _, name := range []string{"a", "b"} {
		c := s.await(p, name, 0, ended)
		if c.Reason != "OOMKilled" || name == "a" && c.ExitCode != 137 {
			s.t.Errorf("container %s ended as %+v", name, c)
		}
		s.must(s.Runtime.Seal(s.ctx, c.ID))
		if c := s.instance(p, name, 0); c.Reason != "OOMKilled" {
			s.t.Errorf("sealed, it is %+v", c)
		}
	}
}

func (s *suite) oom() { s.killed(s.hogs("oom")) }

func (s *suite) oomUnseen() {
	p := s.hogs("oom-unseen")
	if s.Reopen != nil {
		s.Runtime = s.Reopen(s.t, 1500*time.Millisecond) // longer than a Hog lives
	}
	s.killed(p)
}

func (s *suite) lastWords() {
	p := s.pod("last-words", Program{Kind: Exit, Code: 2}, Program{Kind: Exit, Code: 2}, Program{Kind: Exit})
	for i := range p.Object.Spec.Containers {
		p.Object.Spec.Containers[i].TerminationMessagePolicy = v1.TerminationMessageFallbackToLogsOnError
	}
	p.Object.Spec.Containers[1].TerminationMessagePolicy = v1.TerminationMessageReadFile
	s.up(p)
	for name, says := range map[string]bool{"a": true, "b": false, "c": false} {
		// Who sees how it ended sees why.
		c := s.await(p, name, 0, ended)
		if (c.Message != "") != says {
			s.t.Errorf("container %s says %q when it has ended", name, c.Message)
		}
		s.must(s.Runtime.Seal(s.ctx, c.ID))
		if c := s.instance(p, name, 0); (c.Message != "") != says {
			s.t.Errorf("container %s says %q at its end", name, c.Message)
		}
	}
}

func (s *suite) mark() {
	p := s.pod("mark", Program{Kind: Loop})
	s.up(p)
	before := s.instance(p, "a", 0)
	if before.Mark != (podmgr.Mark{}) {
		s.t.Errorf("a new instance is marked %+v", before.Mark)
	}
	m := podmgr.Mark{
		Hooked: true, Started: true, Ready: true, Since: time.Now().UTC().Round(0), Ended: podmgr.EndedByLiveness,
	}
	s.must(s.Runtime.Mark(s.ctx, before.ID, podmgr.Mark{Started: true}))
	s.must(s.Runtime.Mark(s.ctx, before.ID, m))
	if s.Reopen != nil {
		s.Runtime = s.Reopen(s.t, 0)
	}
	after := s.instance(p, "a", 0)
	if !after.Mark.Equal(m) {
		s.t.Errorf("it was marked %+v and has %+v", m, after.Mark)
	}
	before.Mark = after.Mark
	if d := cmp.Diff(before, after); d != "" {
		s.t.Errorf("the mark changed (-before +after):\n%s", d)
	}
	s.must(s.Runtime.Mark(s.ctx, "00000000000000000000000000000000000000000000000000000000000000ff", m))
}

func (s *suite) recall() {
	p := s.pod("recall", Program{Kind: Loop})
	if r, err := s.Runtime.Recall(s.ctx, p.Key(), p.UID()); err != nil || r.Pod != nil || !r.Since.IsZero() {
		s.t.Errorf("of a pod that never was it recalls %+v, %v", r, err)
	}
	before := time.Now().Add(-time.Second)
	s.up(p)
	first, err := s.Runtime.Recall(s.ctx, p.Key(), p.UID())
	s.must(err)
	if first.Since.Before(before) || first.Since.After(time.Now()) {
		s.t.Errorf("it recalls that the pod came at %v", first.Since)
	}
	if d := cmp.Diff(p.Object, first.Pod); d != "" {
		s.t.Errorf("it recalls another pod (-made +recalled):\n%s", d)
	}
	if s.Reopen != nil {
		s.Runtime = s.Reopen(s.t, 0)
	}
	s.must(s.Runtime.EnsureSandbox(s.ctx, p))
	again, err := s.Runtime.Recall(s.ctx, p.Key(), p.UID())
	s.must(err)
	if !again.Since.Equal(first.Since) {
		s.t.Errorf("it first recalls %v, then %v", first.Since, again.Since)
	}
	s.down(p)
	if r, err := s.Runtime.Recall(s.ctx, p.Key(), p.UID()); err != nil || r.Pod != nil || !r.Since.IsZero() {
		s.t.Errorf("of a pod that was forgotten it recalls %+v, %v", r, err)
	}
}

func (s *suite) life() {
	p := s.pod("life", Program{Kind: Loop})
	s.up(p)
	first := s.observe(p)
	if sb, c := first.Sandboxes[0], first.Containers[0]; sb.Life == "" || sb.Life != c.Life {
		s.t.Errorf("the sandbox is of life %q, its container of %q", sb.Life, c.Life)
	}
	s.must(s.Runtime.Stop(s.ctx, first.Containers[0].ID, 0))
	s.must(s.Runtime.Seal(s.ctx, first.Containers[0].ID))
	s.must(s.Runtime.RemoveSandbox(s.ctx, first.Sandboxes[0].ID))
	s.must(s.Runtime.EnsureSandbox(s.ctx, p))
	second := s.observe(p)
	if sb := second.Sandboxes[0]; sb.Life == "" || sb.Life == first.Sandboxes[0].Life {
		s.t.Errorf("after %q the sandbox is of life %q", first.Sandboxes[0].Life, sb.Life)
	}
	if c := second.Containers[0]; c.Life != first.Containers[0].Life {
		s.t.Errorf("the container of before is of life %q", c.Life)
	}
}

func (s *suite) refresh() {
	p := s.pod("refresh", Program{Kind: Loop})
	s.must(s.Runtime.Refresh(s.ctx, p))
	if o := s.observe(p); len(o.Containers)+len(o.Sandboxes)+len(o.Remains) > 0 {
		s.t.Errorf("refreshing what is not there made %+v", o)
	}
	s.up(p)
	before := s.observe(p)
	s.must(s.Runtime.Refresh(s.ctx, p))
	if d := cmp.Diff(before, s.observe(p)); d != "" {
		s.t.Errorf("refreshing changed (-before +after):\n%s", d)
	}
}
