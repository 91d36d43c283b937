package fake

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pull implements podmgr.Runtime.
func (r *Runtime) Pull(ctx context.Context, p *manifests.Pod, ref string, policy podmgr.PullPolicy) (podmgr.PullResult, error) {
	c := Call{Verb: "Pull", Key: p.Key(), UID: p.UID(), Target: ref}
	done, err := r.step(ctx, c, "pull "+ref)
	if err != nil {
		return podmgr.PullResult{}, err
	}
	defer done()
	r.mu.Lock()
	defer r.mu.Unlock()
	local, here := r.images[ref]
	digest, remote := r.Remote[ref]
	if r.Remote == nil {
		digest, remote = "sha256:"+ref, true
	}
	switch {
	case here && policy != podmgr.PullPolicy(v1.PullAlways):
		return podmgr.PullResult{ImageID: local}, nil
	case policy == podmgr.PullPolicy(v1.PullNever):
		return podmgr.PullResult{}, &podmgr.ReasonError{
			Reason: "ErrImageNeverPull", Err: fmt.Errorf("image %q is not here and its pull policy is Never", ref),
		}
	case remote:
		r.images[ref] = digest
		return podmgr.PullResult{ImageID: digest, Pulled: true, Bytes: 1000, Took: time.Millisecond}, nil
	case here:
		return podmgr.PullResult{ImageID: local, Note: "the registry has no " + ref + "; the local image is used"}, nil
	default:
		return podmgr.PullResult{}, &podmgr.ReasonError{Reason: "ErrImagePull", Err: fmt.Errorf("%s: not found", ref)}
	}
}

// EnsureSandbox implements podmgr.Runtime.
func (r *Runtime) EnsureSandbox(ctx context.Context, p *manifests.Pod) error {
	c := Call{Verb: "EnsureSandbox", Key: p.Key(), UID: p.UID()}
	done, err := r.step(ctx, c, "sandbox")
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	have := r.pod(c.Key)
	if have.others(c.UID) {
		r.violate("%s of %s while another UID is left", c, c.UID)
	}
	have.keep(p)
	coming := make(chan struct{})
	have.coming = coming
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		have.coming = nil
		close(coming)
	}()
	if err := r.at(ctx, c, Midway); err != nil {
		return err
	}
	r.mu.Lock()
	switch s := have.sandbox(c.UID); {
	case s == nil:
		r.lives++
		s = &podmgr.Sandbox{
			ID: string(c.UID) + "_sandbox", UID: c.UID, State: podmgr.SandboxReady, Created: time.Now(), Life: fmt.Sprint(r.lives),
		}
		if !p.Object.Spec.HostNetwork {
			r.lastIP++
			s.IPs = []string{fmt.Sprintf("10.88.%d.%d", r.lastIP/250, r.lastIP%250+2)}
		}
		have.sandboxes = append(have.sandboxes, s)
	case s.State == podmgr.SandboxLost:
		r.mu.Unlock()
		return errors.New("the sandbox lost its namespaces; it has to be removed first")
	default:
		s.State = podmgr.SandboxReady
	}
	if s := have.sandbox(c.UID); p.Object.Spec.Resources != nil {
		s.Resources = new(podmgr.ResourcesOf(p.Object.Spec.Resources))
	}
	r.changed(c.Key)
	r.mu.Unlock()
	return r.at(ctx, c, After)
}

// Start implements podmgr.Runtime.
func (r *Runtime) Start(ctx context.Context, p *manifests.Pod, s podmgr.Instance) error {
	c := Call{Verb: "Start", Key: p.Key(), UID: p.UID(), Target: s.Container, Container: s.Container, Attempt: s.Attempt}
	done, err := r.step(ctx, c, "start "+s.Container)
	if err != nil {
		return err
	}
	defer done()
	r.awaitSandbox(ctx, c)
	inst, err := r.create(c, p, s)
	if err != nil {
		return err
	}
	if err := r.at(ctx, c, Midway); err != nil {
		return err
	}
	if err := r.run(c, inst); err != nil {
		return err
	}
	return r.at(ctx, c, After)
}

// awaitSandbox waits for the pod's sandbox while it is being made, or is about to be: no engine prepares a container
// faster than another call begins.
func (r *Runtime) awaitSandbox(ctx context.Context, c Call) {
	var coming chan struct{}
	for range 1000 {
		r.mu.Lock()
		have := r.pod(c.Key)
		coming = have.coming
		there := have.sandbox(c.UID) != nil
		r.mu.Unlock()
		if coming != nil || there {
			break
		}
		runtime.Gosched()
	}
	if coming == nil {
		return
	}
	select {
	case <-coming:
	case <-ctx.Done():
	}
}

// create makes the instance exist, in state Created when it is new.
func (r *Runtime) create(c Call, p *manifests.Pod, s podmgr.Instance) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.pod(c.Key)
	if have.others(c.UID) {
		r.violate("%s of %s while another UID is left", c, c.UID)
	}
	id := fmt.Sprintf("%s_%s_%d", c.UID, s.Container, s.Attempt)
	if _, old := r.find(id); old != nil {
		return old, nil
	}
	sb := have.sandbox(c.UID)
	if sb == nil || sb.State != podmgr.SandboxReady {
		return nil, &podmgr.ReasonError{Reason: podmgr.ReasonNoSandbox, Err: errors.New("the sandbox is not ready")}
	}
	spec := specOf(p, s.Container)
	if target := targetOf(p, s.Container); target != "" && !have.runs(c.UID, target) {
		return nil, &podmgr.ReasonError{
			Reason: "CreateContainerConfigError", Err: fmt.Errorf("unable to find target container %q", target),
		}
	}
	digest, here := r.images[spec.Image]
	if !here {
		return nil, &podmgr.ReasonError{Reason: "CreateContainerError", Err: fmt.Errorf("image %q is not here", spec.Image)}
	}
	grace := 30 * time.Second
	if g := p.Object.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = time.Duration(*g) * time.Second
	}
	inst := &container{program: r.program(p, spec, s.Attempt), Container: podmgr.Container{
		ID: id, UID: c.UID, Name: s.Container, Attempt: s.Attempt, State: podmgr.Created, Image: spec.Image, ImageID: digest,
		LogPath: "/var/log/pods/" + id, Created: time.Now(), Backoff: s.Backoff, Grace: grace,
		Life: sb.Life, Resources: new(podmgr.ResourcesOf(&spec.Resources)),
	}}
	if spec.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError {
		inst.words = "bye"
	}
	have.containers = append(have.containers, inst)
	have.keep(p)
	have.shown[c.UID] = p
	return inst, nil
}

// run starts a created instance.
func (r *Runtime) run(c Call, inst *container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, still := r.find(inst.ID); still != inst {
		return errors.New("the container was removed while it was started")
	}
	if inst.State != podmgr.Created {
		return nil
	}
	for _, o := range r.pod(c.Key).containers {
		if o.Name == inst.Name && o.State == podmgr.Running {
			r.violate("%s while instance %s runs", c, o.ID)
		}
	}
	r.changed(c.Key)
	if inst.program.Unstartable {
		inst.State, inst.Finished, inst.ExitCode, inst.Reason = podmgr.Exited, time.Now(), 128, "StartError"
		return &podmgr.ReasonError{Reason: "RunContainerError", Err: errors.New("exec: no such file or directory")}
	}
	inst.State, inst.Started, inst.ended = podmgr.Running, time.Now(), make(chan struct{})
	if p := inst.program; p.Ends {
		inst.timer = time.AfterFunc(p.After, func() { r.end(inst.ID, p.Code) })
	}
	return nil
}

// keep keeps what Recall returns. The caller holds mu.
func (p *pod) keep(of *manifests.Pod) {
	p.remains[of.UID()] = true
	kept := p.stored[of.UID()]
	kept.Pod = of.Object
	if kept.Since.IsZero() {
		kept.Since = time.Now()
	}
	p.stored[of.UID()] = kept
}

func specOf(p *manifests.Pod, container string) *v1.Container {
	if c := podmgr.Spec(p.Object, container); c != nil {
		return c
	}
	return &v1.Container{Name: container}
}

// targetOf is the container that an ephemeral container targets; empty: none.
func targetOf(p *manifests.Pod, container string) string {
	for i := range p.Object.Spec.EphemeralContainers {
		if c := &p.Object.Spec.EphemeralContainers[i]; c.Name == container {
			return c.TargetContainerName
		}
	}
	return ""
}

// runs says whether a container runs. The caller holds mu.
func (p *pod) runs(uid types.UID, name string) bool {
	return slices.ContainsFunc(p.containers, func(c *container) bool {
		return c.UID == uid && c.Name == name && c.State == podmgr.Running
	})
}
