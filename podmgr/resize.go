package podmgr

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// replace has every running instance end and begin anew whose container has changed in a way that a running one cannot
// follow: its image, or resources that its resizePolicy does not change in place. Only an API server changes a pod so.
func (w *worker) replace() {
	uid := w.want.uid()
	if uid == "" {
		return
	}
	pod := w.want.pod.Object
	for i := range w.have.Containers {
		c := &w.have.Containers[i]
		if c.UID != uid || c.State != Running {
			continue
		}
		spec, r := named(pod, c.Name)
		if spec == nil || r == initRole || r == ephemeralRole || w.mem.mark(c).Ended != "" {
			continue
		}
		if c.Image != "" && c.Image != spec.Image || resizeRestarts(spec, c) {
			m := w.mem.mark(c)
			m.Ended = EndedByChange
			w.mem.setMark(c, m)
		}
	}
}

// resize brings the cgroups of what runs to what the wanted pod gives it.
func (p *planner) resize() {
	var names []string
	for i := range sizeAll(p.pod) {
		spec, _ := nth(p.pod, i)
		if c := p.last(spec); c != nil && c.State == Running && resized(spec, c) && p.mem.mark(c).Ended == "" {
			names = append(names, c.Name)
		}
	}
	if len(names) > 0 || p.podResized() {
		p.add(action{verb: resize, uid: p.pod.UID, containers: names, why: "its resources have changed"})
	}
}

// podResized says whether the pod's own cgroup was given other resources than the pod has now.
func (l *life) podResized() bool {
	return l.sb != nil && l.sb.Resources != nil && *l.sb.Resources != ResourcesOf(l.pod.Spec.Resources)
}

// resizing says whether anything that runs still has other resources than it should have.
func (l *life) resizing() bool {
	for i := range sizeAll(l.pod) {
		spec, _ := nth(l.pod, i)
		if c := l.last(spec); c != nil && c.State == Running && resized(spec, c) {
			return true
		}
	}
	return l.podResized()
}

// resizeCondition is the kubelet's PodResizeInProgress, as long as it holds. PodResizePending is the source's, which
// knows what the node has.
func (f *facts) resizeCondition() (c v1.PodCondition, holds bool) {
	if f.going || f.over || !f.life.resizing() {
		return c, false
	}
	c = v1.PodCondition{Type: v1.PodResizeInProgress, Status: v1.ConditionTrue}
	if e, failed := f.mem.failed[stepKey{verb: resize, uid: f.pod.UID}]; failed {
		c.Reason, c.Message = v1.PodReasonError, e.message
	}
	return c, true
}

// containerResources are what a container has: what its cgroup was given while it runs, else what it will get.
func containerResources(spec *v1.Container, c *Container) *v1.ResourceRequirements {
	if c.State != Running || !resized(spec, c) {
		return &spec.Resources
	}
	return given(&spec.Resources, *c.Resources)
}

// given is what a manifest asks for with the values that a cgroup was given.
func given(asked *v1.ResourceRequirements, was Resources) *v1.ResourceRequirements {
	r := asked.DeepCopy()
	set := func(list v1.ResourceList, name v1.ResourceName, q *resource.Quantity) {
		if _, has := list[name]; has { // as with the kubelet: what the spec has, with the value that holds
			list[name] = *q
		}
	}
	set(r.Requests, v1.ResourceCPU, resource.NewMilliQuantity(was.CPURequest, resource.DecimalSI))
	set(r.Requests, v1.ResourceMemory, resource.NewQuantity(was.MemoryRequest, resource.BinarySI))
	set(r.Limits, v1.ResourceCPU, resource.NewMilliQuantity(was.CPULimit, resource.DecimalSI))
	set(r.Limits, v1.ResourceMemory, resource.NewQuantity(was.MemoryLimit, resource.BinarySI))
	for _, list := range []v1.ResourceList{r.Requests, r.Limits} {
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			if q, has := list[name]; has && q.IsZero() {
				delete(list, name)
			}
		}
	}
	return r
}

// showResources puts into a container's status what it was given, as the kubelet does.
func showResources(s *v1.ContainerStatus, spec *v1.Container, c *Container) {
	s.Resources, s.AllocatedResources = containerResources(spec, c), spec.Resources.Requests
}

// podResources puts into the status what a pod with resources of its own was given.
func (f *facts) podResources(s *v1.PodStatus) {
	if r := f.pod.Spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		s.Resources, s.AllocatedResources = r, r.Requests
		if f.life.podResized() {
			s.Resources = given(r, *f.life.sb.Resources)
		}
	}
}
