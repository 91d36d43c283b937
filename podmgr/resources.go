package podmgr

import v1 "k8s.io/api/core/v1"

// Resources is what the cgroup of a container or of a pod was given; 0 is nothing. CPU is in thousandths, memory in bytes.
type Resources struct {
	CPURequest    int64 `json:"cpuRequest,omitempty"`
	CPULimit      int64 `json:"cpuLimit,omitempty"`
	MemoryRequest int64 `json:"memoryRequest,omitempty"`
	MemoryLimit   int64 `json:"memoryLimit,omitempty"`
}

// ResourcesOf are the resources that a manifest asks for; none for nil.
func ResourcesOf(r *v1.ResourceRequirements) (o Resources) {
	if r == nil {
		return o
	}
	if q, ok := r.Requests[v1.ResourceCPU]; ok {
		o.CPURequest = q.MilliValue()
	}
	if q, ok := r.Requests[v1.ResourceMemory]; ok {
		o.MemoryRequest = q.Value()
	}
	if q, ok := r.Limits[v1.ResourceCPU]; ok {
		o.CPULimit = q.MilliValue()
	}
	if q, ok := r.Limits[v1.ResourceMemory]; ok {
		o.MemoryLimit = q.Value()
	}
	return o
}

// resized says whether a container was started with other resources than it has to have now.
func resized(spec *v1.Container, c *Container) bool {
	return c.Resources != nil && *c.Resources != ResourcesOf(&spec.Resources)
}

// resizeRestarts says whether the change of a container's resources asks for its restart (spec resizePolicy).
func resizeRestarts(spec *v1.Container, c *Container) bool {
	if c.Resources == nil {
		return false
	}
	was, wants := *c.Resources, ResourcesOf(&spec.Resources)
	cpu := was.CPULimit != wants.CPULimit || was.CPURequest != wants.CPURequest
	memory := was.MemoryLimit != wants.MemoryLimit || was.MemoryRequest != wants.MemoryRequest
	for _, p := range spec.ResizePolicy {
		if p.RestartPolicy == v1.RestartContainer &&
			(cpu && p.ResourceName == v1.ResourceCPU || memory && p.ResourceName == v1.ResourceMemory) {
			return true
		}
	}
	return false
}

// outdated says whether an instance was made from another image, or with other resources, than its container has now.
func outdated(spec *v1.Container, c *Container) bool {
	return c.Image != "" && c.Image != spec.Image || resized(spec, c)
}
