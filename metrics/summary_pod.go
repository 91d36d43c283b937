package metrics

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// pod is the entry of one pod; there is none before it has a start time, as with the kubelet.
func (b summaryBuilder) pod(p *Pod) (statsapi.PodStats, bool) {
	if p.Object == nil || p.Status == nil || p.Status.StartTime.IsZero() {
		return statsapi.PodStats{}, false
	}
	uid := p.uid()
	out := statsapi.PodStats{
		PodRef:    statsapi.PodReference{Name: p.Key.Name, Namespace: p.Key.Namespace, UID: uid},
		StartTime: *p.Status.StartTime, Containers: []statsapi.ContainerStats{},
	}
	if g := b.samples.pods[uid]; g != nil {
		out.CPU, out.Memory, out.Swap = cpuStats(g), memoryStats(g), swapStats(g)
		if !b.brief {
			out.IO = ioStats(g)
		}
	}
	var processes uint64
	if sandbox := b.samples.sandboxes[uid]; sandbox != nil && !b.brief {
		out.Network = networkStats(sandbox)
		processes += processCount(sandbox)
	}
	var ephemeral usage
	eachContainer(p.Status, func(_ containerKind, c *v1.ContainerStatus) {
		x := b.samples.ids[bareID(c.ContainerID)]
		if x == nil || c.State.Running == nil {
			return
		}
		cs := b.container(c, x)
		if !b.brief {
			processes += processCount(x)
			layer, logs := b.disk.layers[x.entry.id], b.disk.logs[logKey{uid, c.Name}]
			cs.Rootfs = fsStatsOf(b.disk.at, b.imageFs, layer)
			cs.Logs = fsStatsOf(b.disk.at, b.nodeFs, logs)
			ephemeral = ephemeral.add(layer).add(logs)
		}
		out.Containers = append(out.Containers, cs)
	})
	if b.brief {
		return out, true
	}
	for _, v := range b.disk.volumes[uid] {
		out.VolumeStats = append(out.VolumeStats, volumeStats(b.disk.at, v, p.Key.Namespace))
		if v.ephemeral {
			ephemeral = ephemeral.add(v.used)
		}
	}
	out.EphemeralStorage = fsStatsOf(b.disk.at, b.nodeFs, ephemeral)
	out.ProcessStats = &statsapi.ProcessStats{ProcessCount: &processes}
	return out, true
}

func (b summaryBuilder) container(c *v1.ContainerStatus, x *sample) statsapi.ContainerStats {
	out := statsapi.ContainerStats{
		Name: c.Name, StartTime: metav1.NewTime(x.spec.CreationTime),
		CPU: cpuStats(x), Memory: memoryStats(x), Swap: swapStats(x),
	}
	if !c.State.Running.StartedAt.IsZero() {
		out.StartTime = c.State.Running.StartedAt
	}
	if !b.brief {
		out.IO = ioStats(x)
	}
	return out
}

func volumeStats(at time.Time, v volumeUsage, namespace string) statsapi.VolumeStats {
	out := statsapi.VolumeStats{Name: v.name, FsStats: *fsStatsOf(at, v.fs, v.used)}
	if v.claim != "" {
		out.PVCRef = &statsapi.PVCReference{Name: v.claim, Namespace: namespace}
	}
	return out
}
