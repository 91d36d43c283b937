package containerd

import (
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
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

// containerResources are the cgroup values of one container as the kubelet computes them.
func containerResources(c *v1.Container) *specs.LinuxResources {
	res := &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}
	request := c.Resources.Requests.Cpu().MilliValue()
	limit := c.Resources.Limits.Cpu().MilliValue()
	if _, ok := c.Resources.Requests[v1.ResourceCPU]; !ok {
		request = limit
	}
	shares := milliToShares(request)
	res.CPU.Shares = &shares
	if limit > 0 {
		quota, period := milliToQuota(limit), uint64(cfsPeriod)
		res.CPU.Quota, res.CPU.Period = &quota, &period
	}
	if m := c.Resources.Limits.Memory().Value(); m > 0 {
		res.Memory.Limit = &m
	}
	return res
}

// podResources are those of the pod's own cgroup: the sums, each limit only when every container has one.
func podResources(p *v1.Pod, q v1.PodQOSClass) *specs.LinuxResources {
	var requests, cpu, memory int64
	allCPU, allMemory := true, true
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		limit := c.Resources.Limits.Cpu().MilliValue()
		if r, ok := c.Resources.Requests[v1.ResourceCPU]; ok {
			requests += r.MilliValue()
		} else {
			requests += limit
		}
		cpu += limit
		memory += c.Resources.Limits.Memory().Value()
		allCPU = allCPU && limit > 0
		allMemory = allMemory && c.Resources.Limits.Memory().Value() > 0
	}
	res := &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}
	shares := uint64(minShares)
	if q != v1.PodQOSBestEffort {
		shares = milliToShares(requests)
	}
	res.CPU.Shares = &shares
	if q != v1.PodQOSBestEffort && allCPU {
		quota, period := milliToQuota(cpu), uint64(cfsPeriod)
		res.CPU.Quota, res.CPU.Period = &quota, &period
	}
	if q != v1.PodQOSBestEffort && allMemory {
		res.Memory.Limit = &memory
	}
	return res
}

// oomScoreAdj is the kubelet's (pkg/kubelet/qos/policy.go), clamped to what this box permits.
func oomScoreAdj(c *v1.Container, q v1.PodQOSClass, capacity int64, limits hostLimits) int {
	var adj int
	switch q {
	case v1.PodQOSGuaranteed:
		adj = oomGuaranteed
	case v1.PodQOSBestEffort:
		adj = oomBestEffort
	default:
		request := c.Resources.Requests.Memory().Value()
		if _, ok := c.Resources.Requests[v1.ResourceMemory]; !ok {
			request = c.Resources.Limits.Memory().Value()
		}
		adj = 1000
		if capacity > 0 {
			adj = int(1000 - 1000*request/capacity)
		}
		// Above a guaranteed pod's, below a best-effort pod's.
		adj = min(max(adj, 1000+oomGuaranteed), 999)
	}
	return max(adj, limits.minOOMScoreAdj)
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
