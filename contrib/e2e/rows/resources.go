package rows

import (
	"os"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// countsHugePages says whether the cgroups of this box do; else a container that asks for them is refused.
func countsHugePages() bool {
	if _, err := os.Stat("/sys/fs/cgroup/hugetlb"); err == nil {
		return true
	}
	b, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	return slices.Contains(strings.Fields(string(b)), "hugetlb")
}

// waitsFor says whether any container of a pod waits for that reason.
func waitsFor(p *v1.Pod, reason string) bool {
	is := func(c v1.ContainerStatus) bool { return c.State.Waiting != nil && c.State.Waiting.Reason == reason }
	return slices.ContainsFunc(p.Status.ContainerStatuses, is) || slices.ContainsFunc(p.Status.InitContainerStatuses, is)
}

func resourceRows() []Row {
	return []Row{
		{
			Name: "CPU and memory reach the cgroup", Fields: each(Both+"resources.", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"),
			Container: "resources: {requests: {cpu: 250m, memory: 32Mi}, limits: {cpu: 500m, memory: 64Mi}}",
			Look: func(x *X) {
				x.Want("the memory limit", x.Cgroup("memory", "memory.limit_in_bytes", "memory.max"), strconv.Itoa(64<<20))
				x.OneOf("the CPU quota", x.Cgroup("cpu", "cpu.cfs_quota_us", "cpu.max"), "50000", "50000 100000")
				x.OneOf("the CPU weight", x.Cgroup("cpu", "cpu.shares", "cpu.weight"), "256", "10", "34", "35")
				x.OneOf("the pod's CPU weight", x.PodCgroup("cpu", "cpu.shares", "cpu.weight"), "256", "10", "34", "35")
				x.Want("the limit of the pod's processes", x.PodCgroup("pids", "pids.max", "pids.max"), "1024")
				x.Contains("the cgroup", x.Proc("cgroup"), "/kubepods/burstable/pod")
				adj, _ := strconv.Atoi(strings.TrimSpace(x.Proc("oom_score_adj")))
				if adj < 3 || adj > 999 {
					x.Errorf("oom_score_adj is %d, want that of a burstable pod with little memory: 3 to 999", adj)
				}
			},
		},
		{
			Name: "limits alone make a guaranteed pod", Fields: each("spec.containers[*].resources.limits.", "cpu", "memory"),
			Container: "resources: {limits: {cpu: 100m, memory: 16Mi}}",
			Look: func(x *X) {
				x.Contains("the cgroup", x.Proc("cgroup"), "/kubepods/pod")
				x.Want("the pod's memory limit", x.PodCgroup("memory", "memory.limit_in_bytes", "memory.max"), strconv.Itoa(16<<20))
			},
		},
		{
			Name: "the pod is given as a whole what its containers do not say",
			Fields: append(each("spec.resources.", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"),
				each(Both, "resizePolicy")...),
			Pod:       "resources: {requests: {cpu: 500m, memory: 32Mi}, limits: {cpu: '1', memory: 64Mi}}",
			Container: "resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: memory, restartPolicy: RestartContainer}]",
			Look: func(x *X) {
				x.Want("the pod's memory limit", x.PodCgroup("memory", "memory.limit_in_bytes", "memory.max"), strconv.Itoa(64<<20))
				x.OneOf("the pod's CPU quota", x.PodCgroup("cpu", "cpu.cfs_quota_us", "cpu.max"), "100000", "100000 100000")
				x.OneOf("the pod's CPU weight", x.PodCgroup("cpu", "cpu.shares", "cpu.weight"), "512", "20", "59", "60")
				x.Want("the container's memory limit", x.Cgroup("memory", "memory.limit_in_bytes", "memory.max"), strconv.Itoa(64<<20))
				x.Contains("the cgroup", x.Proc("cgroup"), "/kubepods/burstable/pod")
			},
		},
		{
			Name: "a kill for memory is told", Fields: each("spec.containers[*].resources.limits.", "memory"),
			Pod: "restartPolicy: Never", Container: "resources: {limits: {memory: 16Mi}}",
			Script: "tail /dev/zero; exit 3", Until: ended,
			Look: func(x *X) {
				x.Want("the reason", x.Pod().Status.ContainerStatuses[0].State.Terminated.Reason, "OOMKilled")
			},
		},
		{
			Name: "huge pages are counted where the node can",
			Fields: slices.Concat(
				each(Both+"resources.", "requests.hugepages-2Mi", "requests.hugepages-1Gi", "limits.hugepages-2Mi", "limits.hugepages-1Gi"),
				each("spec.resources.", "requests.hugepages-2Mi", "requests.hugepages-1Gi", "limits.hugepages-2Mi", "limits.hugepages-1Gi"),
			),
			Pod:       "resources: {requests: {cpu: 10m}, limits: {hugepages-2Mi: 4Mi, hugepages-1Gi: 1Gi}}",
			Container: "resources: {requests: {cpu: 10m}, limits: {hugepages-2Mi: 2Mi, hugepages-1Gi: 1Gi}}",
			Until: func(p *v1.Pod) bool {
				return countsHugePages() && p.Status.Phase == v1.PodRunning || !countsHugePages() && waitsFor(p, "CreateContainerConfigError")
			},
			Look: func(x *X) {
				if countsHugePages() {
					x.Want("the limit", x.Cgroup("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), strconv.Itoa(2<<20))
					x.Want("the pod's limit", x.PodCgroup("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), strconv.Itoa(4<<20))
				}
			},
		},
		{
			Name: "ephemeral storage may be asked for", Fields: each(Both+"resources.", "requests.ephemeral-storage", "limits.ephemeral-storage"),
			Container: "{resources: {requests: {ephemeral-storage: 1Mi}, limits: {ephemeral-storage: 1Gi}}, env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1Mi}}}]}",
			Script:    "echo $A", Says: "1024",
			Look: func(x *X) { x.Contains("the cgroup", x.Proc("cgroup"), "/kubepods/besteffort/pod") },
		},
	}
}
