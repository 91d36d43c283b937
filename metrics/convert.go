package metrics

import (
	"time"

	info "github.com/google/cadvisor/lib/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// The conversions from cAdvisor's stats to the kubelet's, as in pkg/kubelet/stats/helper.go.

// unlimited is where a memory limit stops to be one; the kernel rounds the largest value down.
const unlimited = uint64(1) << 62

// podInterface is the pod's interface of which the summary gives the numbers at the top.
const podInterface = "eth0"

func cpuStats(x *sample) *statsapi.CPUStats {
	if x.stats.Cpu == nil {
		return nil
	}
	out := &statsapi.CPUStats{Time: metav1.NewTime(x.stats.Timestamp), UsageNanoCores: ptr[uint64](0)}
	if x.stats.CpuInst != nil {
		out.UsageNanoCores = &x.stats.CpuInst.Usage.Total
	}
	out.UsageCoreNanoSeconds = &x.stats.Cpu.Usage.Total
	out.PSI = psiStats(x, &x.stats.Cpu.PSI)
	return out
}

func memoryStats(x *sample) *statsapi.MemoryStats {
	mem := x.stats.Memory
	if !x.spec.HasMemory || mem == nil {
		return &statsapi.MemoryStats{Time: metav1.NewTime(x.stats.Timestamp), WorkingSetBytes: ptr[uint64](0)}
	}
	out := &statsapi.MemoryStats{
		Time: metav1.NewTime(x.stats.Timestamp), UsageBytes: &mem.Usage, WorkingSetBytes: &mem.WorkingSet, RSSBytes: &mem.RSS,
		PageFaults: &mem.ContainerData.Pgfault, MajorPageFaults: &mem.ContainerData.Pgmajfault, PSI: psiStats(x, &mem.PSI),
	}
	if limit := x.spec.Memory.Limit; limit > 0 && limit < unlimited {
		out.AvailableBytes = ptr(limit - min(limit, mem.WorkingSet))
	}
	return out
}

func swapStats(x *sample) *statsapi.SwapStats {
	mem := x.stats.Memory
	if !x.spec.HasMemory || mem == nil {
		return nil
	}
	out := &statsapi.SwapStats{Time: metav1.NewTime(x.stats.Timestamp), SwapUsageBytes: &mem.Swap}
	if limit := x.spec.Memory.SwapLimit; limit < unlimited {
		out.SwapAvailableBytes = ptr(limit - min(limit, mem.Swap))
	}
	return out
}

func ioStats(x *sample) *statsapi.IOStats {
	if !x.spec.HasDiskIo || x.stats.DiskIo == nil || !x.pressure {
		return nil // there is nothing else in it
	}
	return &statsapi.IOStats{Time: metav1.NewTime(x.stats.Timestamp), PSI: psiStats(x, &x.stats.DiskIo.PSI)}
}

// psiStats is nil where the kernel keeps none (cgroup v1, except for the node): nothing is not 0.
func psiStats(x *sample, p *info.PSIStats) *statsapi.PSIStats {
	if !x.pressure {
		return nil
	}
	data := func(d info.PSIData) statsapi.PSIData {
		return statsapi.PSIData{Total: d.Total, Avg10: d.Avg10, Avg60: d.Avg60, Avg300: d.Avg300}
	}
	return &statsapi.PSIStats{Full: data(p.Full), Some: data(p.Some)}
}

func networkStats(x *sample) *statsapi.NetworkStats {
	if !x.spec.HasNetwork || x.stats.Network == nil {
		return nil
	}
	out := &statsapi.NetworkStats{Time: metav1.NewTime(x.stats.Timestamp)}
	for i := range x.stats.Network.Interfaces {
		n := &x.stats.Network.Interfaces[i]
		s := statsapi.InterfaceStats{Name: n.Name, RxBytes: &n.RxBytes, RxErrors: &n.RxErrors, TxBytes: &n.TxBytes, TxErrors: &n.TxErrors}
		if n.Name == podInterface {
			out.InterfaceStats = s
		}
		out.Interfaces = append(out.Interfaces, s)
	}
	return out
}

func processCount(x *sample) uint64 {
	if x.stats.Processes == nil {
		return 0
	}
	return x.stats.Processes.ProcessCount
}

func fsStatsOf(at time.Time, f filesystem, u usage) *statsapi.FsStats {
	return &statsapi.FsStats{
		Time: metav1.NewTime(at), AvailableBytes: &f.available, CapacityBytes: &f.capacity, UsedBytes: &u.bytes,
		Inodes: &f.inodes, InodesFree: &f.inodesFree, InodesUsed: &u.inodes,
	}
}
