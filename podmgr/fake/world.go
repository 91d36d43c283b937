package fake

import (
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"k8s.io/apimachinery/pkg/types"
)

// end lets a running container end by itself.
func (r *Runtime) end(id string, code int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, c := r.find(id)
	if c == nil || c.State != podmgr.Running {
		return
	}
	c.State, c.Finished, c.ExitCode = podmgr.Exited, time.Now(), code
	switch c.Reason = "Completed"; code {
	case 0:
	case 137:
		c.Signal, c.Reason = 9, "Error"
	default:
		c.Reason = "Error"
	}
	if c.program.OOM {
		c.Reason = "OOMKilled"
	}
	if code != 0 {
		c.Message = c.words
	}
	r.halt(c)
	r.changed(k)
}

// halt ends a container's program. The caller holds mu.
func (r *Runtime) halt(c *container) {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if c.ended != nil {
		close(c.ended)
		c.ended = nil
	}
}

// Exit lets the running instance of a container end with a code. It returns false when none runs.
func (r *Runtime) Exit(k manifests.Key, name string, code int32) bool {
	r.mu.Lock()
	var id string
	for _, c := range r.pod(k).containers {
		if c.Name == name && c.State == podmgr.Running {
			id = c.ID
		}
	}
	r.mu.Unlock()
	if id == "" {
		return false
	}
	r.end(id, code)
	return true
}

// KillShim lets every running container of a pod vanish without exit facts.
func (r *Runtime) KillShim(k manifests.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.pod(k).containers {
		r.vanish(c)
	}
	r.changed(k)
}

// vanish takes the task of a container. The caller holds mu.
func (r *Runtime) vanish(c *container) {
	if c.State == podmgr.Running || (c.State == podmgr.Exited && !c.Sealed) {
		c.State, c.Finished, c.ExitCode, c.Signal, c.Reason = podmgr.Unknown, time.Time{}, 255, 0, "ContainerStatusUnknown"
		r.halt(c)
	}
}

// Delete removes a container behind everyone's back, running or not.
func (r *Runtime) Delete(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, c := r.find(id); c != nil {
		r.halt(c)
		r.delete(k, id)
	}
}

// SetSandbox changes the state of every sandbox of a pod. Lost ones take their containers with them.
func (r *Runtime) SetSandbox(k manifests.Key, state podmgr.SandboxState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pod(k)
	for _, s := range p.sandboxes {
		s.State = state
	}
	if state == podmgr.SandboxLost {
		for _, c := range p.containers {
			r.vanish(c)
		}
	}
	r.changed(k)
}

// Reboot ends every process: tasks and namespaces are gone, what is on disk stays.
func (r *Runtime) Reboot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		for _, s := range p.sandboxes {
			s.State = podmgr.SandboxLost
		}
		for _, c := range p.containers {
			r.vanish(c)
		}
	}
	r.changed(manifests.Key{})
}

// Put makes the world be as o says for one pod, with programs that run until TERM.
func (r *Runtime) Put(k manifests.Key, o podmgr.Observed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pods, k)
	p := r.pod(k)
	for _, s := range o.Sandboxes {
		p.sandboxes = append(p.sandboxes, &s)
	}
	for _, c := range o.Containers {
		inst := &container{Container: c}
		if c.State == podmgr.Running {
			inst.ended = make(chan struct{})
		}
		p.containers = append(p.containers, inst)
	}
	for _, uid := range o.Remains {
		p.remains[uid] = true
	}
}

// SetNotes has Observe tell these of a pod from now on.
func (r *Runtime) SetNotes(k manifests.Key, notes ...podmgr.Note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pod(k).notes = notes
	r.changed(k)
}

// Evict has Observe tell that a pod uses too much of the disk, until it is forgotten.
func (r *Runtime) Evict(k manifests.Key, uid types.UID, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pod(k)
	p.evicted = append(p.evicted, podmgr.Eviction{UID: uid, Message: message})
	r.changed(k)
}

// AddImage makes an image present; RemoveImage undoes that.
func (r *Runtime) AddImage(ref, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[ref] = digest
}

// RemoveImage makes an image absent. Containers that were made from it are not affected.
func (r *Runtime) RemoveImage(ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, ref)
}
