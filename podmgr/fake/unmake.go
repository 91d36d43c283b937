package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"k8s.io/apimachinery/pkg/types"
)

// call is the Call about a container that may exist.
func (r *Runtime) call(verb, id string) Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, c := r.find(id)
	if c == nil {
		return Call{Verb: verb, Target: id}
	}
	return Call{Verb: verb, Key: k, UID: c.UID, Target: id, Container: c.Name, Attempt: c.Attempt}
}

// Stop implements podmgr.Runtime.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	c := r.call("Stop", id)
	c.Grace = max(grace, 1)
	done, err := r.step(ctx, c, id)
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	_, inst := r.find(id)
	if inst == nil || inst.State != podmgr.Running {
		r.mu.Unlock()
		return nil
	}
	ended, program := inst.ended, inst.program
	r.mu.Unlock()
	if err := r.at(ctx, c, Midway); err != nil {
		return err
	}
	takes, code := program.StopTakes, int32(0)
	if program.Stubborn || takes > c.Grace {
		takes, code = c.Grace, 137
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		r.end(id, code)
	case <-ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.at(ctx, c, After)
}

// Seal implements podmgr.Runtime.
func (r *Runtime) Seal(ctx context.Context, id string) error {
	c := r.call("Seal", id)
	done, err := r.step(ctx, c, id)
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	_, inst := r.find(id)
	switch {
	case inst == nil:
	case !inst.State.Ended():
		r.violate("%s of a container that has not ended", c)
		r.mu.Unlock()
		return errors.New("the container has not ended")
	default:
		inst.Sealed = true
		r.changed(c.Key)
	}
	r.mu.Unlock()
	return r.at(ctx, c, After)
}

// Remove implements podmgr.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	c := r.call("Remove", id)
	done, err := r.step(ctx, c, id)
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	if _, inst := r.find(id); inst != nil {
		if inst.State == podmgr.Running {
			r.violate("%s of a running container", c)
			r.mu.Unlock()
			return errors.New("the container is running")
		}
		r.delete(c.Key, id)
	}
	r.mu.Unlock()
	return r.at(ctx, c, After)
}

// delete drops a container. The caller holds mu.
func (r *Runtime) delete(k manifests.Key, id string) {
	p := r.pod(k)
	p.containers = slices.DeleteFunc(p.containers, func(o *container) bool { return o.ID == id })
	r.changed(k)
}

// RemoveSandbox implements podmgr.Runtime.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	c := Call{Verb: "RemoveSandbox", Target: id}
	r.mu.Lock()
	for k, p := range r.pods {
		for _, s := range p.sandboxes {
			if s.ID == id {
				c.Key, c.UID = k, s.UID
			}
		}
	}
	r.mu.Unlock()
	done, err := r.step(ctx, c, "sandbox")
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	p := r.pod(c.Key)
	for _, o := range p.containers {
		if o.UID == c.UID && o.State == podmgr.Running {
			r.violate("%s while container %s runs", c, o.ID)
			r.mu.Unlock()
			return fmt.Errorf("container %s is running", o.ID)
		}
	}
	p.sandboxes = slices.DeleteFunc(p.sandboxes, func(s *podmgr.Sandbox) bool { return s.ID == id })
	r.changed(c.Key)
	r.mu.Unlock()
	return r.at(ctx, c, After)
}

// Forget implements podmgr.Runtime.
func (r *Runtime) Forget(ctx context.Context, k manifests.Key, uid types.UID) error {
	c := Call{Verb: "Forget", Key: k, UID: uid}
	done, err := r.step(ctx, c, "sandbox")
	if err != nil {
		return err
	}
	defer done()
	r.mu.Lock()
	p := r.pod(k)
	if p.sandbox(uid) != nil || slices.ContainsFunc(p.containers, func(o *container) bool { return o.UID == uid }) {
		r.violate("%s of %s while its containers or sandbox are left", c, uid)
		r.mu.Unlock()
		return errors.New("containers or the sandbox are left")
	}
	delete(p.remains, uid)
	p.evicted = slices.DeleteFunc(p.evicted, func(e podmgr.Eviction) bool { return e.UID == uid })
	delete(p.stored, uid)
	delete(p.shown, uid)
	r.changed(k)
	r.mu.Unlock()
	return r.at(ctx, c, After)
}
