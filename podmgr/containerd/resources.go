package containerd

import (
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Numbers of the kubelet (pkg/kubelet/cm/helpers_linux.go).
const (
	minShares     = 2
	maxShares     = 262144
	sharesPerCPU  = 1024
	milliPerCPU   = 1000
	cfsPeriod     = 100_000 // µs
	minCFSQuota   = 1000    // µs
	oomGuaranteed = -997
	oomBestEffort = 1000
)

func milliToShares(m int64) uint64 {
	if m == 0 {
		return minShares
	}
	return uint64(min(max(m*sharesPerCPU/milliPerCPU, minShares), maxShares))
}

func milliToQuota(m int64) int64 {
	return max(m*cfsPeriod/milliPerCPU, minCFSQuota)
}

// containerResources are the cgroup values of one container as the kubelet computes them; huge are the sizes of huge pages
// that this box can count. What the pod is given as a whole is the limit of a container without one.
func containerResources(p *v1.Pod, c *v1.Container, huge []string) *specs.LinuxResources {
	res := &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}
	cpu, memory := limitOf(p, c, v1.ResourceCPU), limitOf(p, c, v1.ResourceMemory)
	request := cpu.MilliValue()
	if r, ok := c.Resources.Requests[v1.ResourceCPU]; ok {
		request = r.MilliValue()
	}
	shares := milliToShares(request)
	res.CPU.Shares = &shares
	if limit := cpu.MilliValue(); limit > 0 {
		quota, period := milliToQuota(limit), uint64(cfsPeriod)
		res.CPU.Quota, res.CPU.Period = &quota, &period
	}
	if m := memory.Value(); m > 0 {
		res.Memory.Limit = &m
	}
	limits := map[string]uint64{}
	if p.Spec.Resources != nil {
		hugeLimits(limits, p.Spec.Resources.Limits)
	}
	hugeLimits(limits, c.Resources.Limits)
	for _, size := range huge { // of a size that it did not ask for it gets none
		res.HugepageLimits = append(res.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: limits[size]})
	}
	return res
}

// limitOf is a container's limit, else the pod's.
func limitOf(p *v1.Pod, c *v1.Container, name v1.ResourceName) resource.Quantity {
	limit := c.Resources.Limits[name]
	if limit.IsZero() && p.Spec.Resources != nil {
		limit = p.Spec.Resources.Limits[name]
	}
	return limit
}

// podResources are those of the pod's own cgroup (kubelet: ResourceConfigForPod): what its containers can need at one
// time, or what the pod says, each limit only when it bounds every container.
func podResources(p *v1.Pod, q v1.PodQOSClass, huge []string) *specs.LinuxResources {
	res := &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}
	shares := uint64(minShares)
	res.CPU.Shares = &shares
	if q == v1.PodQOSBestEffort {
		return res
	}
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})
	shares = milliToShares(requests.Cpu().MilliValue())
	if bounded(p, v1.ResourceCPU) {
		quota, period := milliToQuota(limits.Cpu().MilliValue()), uint64(cfsPeriod)
		res.CPU.Quota, res.CPU.Period = &quota, &period
	}
	if bounded(p, v1.ResourceMemory) {
		res.Memory.Limit = new(limits.Memory().Value())
	}
	pages := map[string]uint64{}
	hugeLimits(pages, requests)
	for _, size := range huge {
		if n, has := pages[size]; has {
			res.HugepageLimits = append(res.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: n})
		}
	}
	return res
}

// bounded says whether the pod, or every container of it, has a limit of a resource.
func bounded(p *v1.Pod, name v1.ResourceName) bool {
	if p.Spec.Resources != nil {
		if limit := p.Spec.Resources.Limits[name]; !limit.IsZero() {
			return true
		}
	}
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if limit := list[i].Resources.Limits[name]; limit.IsZero() {
				return false
			}
		}
	}
	return true
}

// oomScoreAdj is the kubelet's (pkg/kubelet/qos/policy.go), clamped to what this box permits.
func oomScoreAdj(p *v1.Pod, c *v1.Container, q v1.PodQOSClass, capacity int64, limits hostLimits) int {
	adj := int64(oomBestEffort)
	switch {
	case p.Spec.PriorityClassName == "system-node-critical" || q == v1.PodQOSGuaranteed:
		adj = oomGuaranteed
	case q == v1.PodQOSBestEffort:
	default:
		request, spare := memoryRequest(c), spareRequest(p)
		if isSidecar(p, c) { // it lives no shorter than what it serves
			least := memoryRequest(&p.Spec.Containers[0])
			for i := range p.Spec.Containers {
				least = min(least, memoryRequest(&p.Spec.Containers[i]))
			}
			request = max(request, least)
		}
		if capacity > 0 {
			adj = 1000 - 1000*(request+spare)/capacity
		}
		// Above a guaranteed pod's, below a best-effort pod's.
		adj = min(max(adj, 1000+oomGuaranteed), oomBestEffort-1)
	}
	return max(int(adj), limits.minOOMScoreAdj)
}

// memoryRequest is what a container requests; without a request that is its limit.
func memoryRequest(c *v1.Container) int64 {
	if _, ok := c.Resources.Requests[v1.ResourceMemory]; ok {
		return c.Resources.Requests.Memory().Value()
	}
	return c.Resources.Limits.Memory().Value()
}

// spareRequest is the memory that a pod requests beyond its containers, for each of them.
func spareRequest(p *v1.Pod) int64 {
	if p.Spec.Resources == nil || p.Spec.Resources.Requests.Memory().IsZero() {
		return 0
	}
	all := resourcehelper.AggregateContainerRequests(p, resourcehelper.PodResourcesOptions{})
	spare := p.Spec.Resources.Requests.Memory().Value() - all.Memory().Value()
	return max(spare, 0) / int64(len(p.Spec.Containers)+len(p.Spec.InitContainers))
}

func isSidecar(p *v1.Pod, c *v1.Container) bool {
	for i := range p.Spec.InitContainers {
		if k := &p.Spec.InitContainers[i]; k.Name == c.Name {
			return k.RestartPolicy != nil && *k.RestartPolicy == v1.ContainerRestartPolicyAlways
		}
	}
	return false
}

// memoryCapacity is the node's memory in bytes; 0 when unknown.
func memoryCapacity() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}
