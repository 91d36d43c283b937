package rows

import (
	"strconv"
	"strings"
)

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
			Name: "ephemeral storage may be asked for", Fields: each(Both+"resources.", "requests.ephemeral-storage", "limits.ephemeral-storage"),
			Container: "{resources: {requests: {ephemeral-storage: 1Mi}, limits: {ephemeral-storage: 1Gi}}, env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1Mi}}}]}",
			Script:    "echo $A", Says: "1024",
			Look: func(x *X) { x.Contains("the cgroup", x.Proc("cgroup"), "/kubepods/besteffort/pod") },
		},
	}
}
