package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

// resourcesFile in <state>/containers/<id> holds what a resize gave a running container, in <state>/pods/<uid> what the
// pod's own cgroup was given of spec.resources. It is on a tmpfs: neither cgroup outlives a reboot.
const resourcesFile = "resources.json"

// give keeps what a cgroup was given.
func (r *Runtime) give(id, dir string, o podmgr.Resources) error {
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encoding resources: %w", err)
	}
	if err := writeFile(filepath.Join(dir, resourcesFile), b, 0o600); err != nil {
		return err
	}
	r.given.Store(id, &o)
	return nil
}

// givenTo is what a cgroup was given last; at first is what it began with. The file is read once.
func (r *Runtime) givenTo(id, dir string, first *podmgr.Resources) *podmgr.Resources {
	if known, ok := r.given.Load(id); ok {
		return known.(*podmgr.Resources)
	}
	var kept podmgr.Resources
	if b, err := os.ReadFile(filepath.Join(dir, resourcesFile)); err == nil && json.Unmarshal(b, &kept) == nil {
		first = &kept
	}
	r.given.Store(id, first)
	return first
}

// Resize implements podmgr.Runtime. Of the pod's cgroup only the limits have to come in order: it grows before its
// containers do and shrinks after them (kubelet: doPodResizeAction).
func (r *Runtime) Resize(ctx context.Context, p *manifests.Pod, containers []string) error {
	ctx = r.ns(ctx)
	have, err := r.Observe(ctx, p.Key())
	if err != nil {
		return err
	}
	q := podmgr.QOSClass(p.Object)
	pod := r.cgroups.pod(q, p.UID())
	wants := podResources(p.Object, q, r.cgroups.huge)
	if err := r.cgroups.mayShrink(pod, "", wants); err != nil {
		return fmt.Errorf("resizing pod %s: %w", p.Key(), err)
	}
	if err := r.cgroups.grow(pod, wants); err != nil {
		return err
	}
	for i := range have.Containers {
		c := &have.Containers[i]
		spec := podmgr.Spec(p.Object, c.Name)
		// What is the pod's as a whole may be every container's limit.
		if c.UID != p.UID() || c.State != podmgr.Running || spec == nil ||
			!slices.Contains(containers, c.Name) && p.Object.Spec.Resources == nil {
			continue
		}
		if err := r.resizeContainer(ctx, p.Object, spec, c.ID, pod); err != nil {
			return fmt.Errorf("resizing container %q: %w", c.Name, err)
		}
	}
	if err := r.cgroups.set(pod, wants); err != nil {
		return err
	}
	if err := r.cgroups.weighClass(q); err != nil {
		return err
	}
	if p.Object.Spec.Resources == nil {
		return nil
	}
	return r.give(sandboxID(p.UID()), r.podState(p.UID()), podmgr.ResourcesOf(p.Object.Spec.Resources))
}

func (r *Runtime) resizeContainer(ctx context.Context, p *v1.Pod, c *v1.Container, id, pod string) error {
	wants := containerResources(p, c, r.cgroups.huge)
	if err := r.cgroups.mayShrink(pod, id, wants); err != nil {
		return err
	}
	unlimited := int64(-1)
	if wants.CPU.Quota == nil {
		period := uint64(cfsPeriod)
		wants.CPU.Quota, wants.CPU.Period = &unlimited, &period
	}
	if wants.Memory.Limit == nil {
		wants.Memory.Limit = &unlimited
	}
	encoded, err := typeurl.MarshalAnyToProto(&specs.LinuxResources{
		CPU: wants.CPU, Memory: wants.Memory, HugepageLimits: wants.HugepageLimits,
	})
	if err != nil {
		return fmt.Errorf("encoding resources: %w", err)
	}
	_, err = r.client.TaskService().Update(ctx, &tasks.UpdateTaskRequest{ContainerID: id, Resources: encoded})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return nil // it has ended meanwhile
	}
	if err != nil {
		return fmt.Errorf("updating its cgroup: %w", err)
	}
	return r.give(id, r.containerState(id), podmgr.ResourcesOf(&c.Resources))
}
