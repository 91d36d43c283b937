package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// errOff says that nothing is sampled.
var errOff = errors.New("cAdvisor is off (set --housekeeping-interval to more than 0)")

// errEarly says that nothing has been sampled yet.
var errEarly = errors.New("nothing has been sampled yet; try again in a moment")

// Summary is what /stats/summary answers: the node and every pod with containers, volumes, logs and network; with
// onlyCPUAndMemory, just these two and swap, as the kubelet leaves the rest out.
func (m *Metrics) Summary(ctx context.Context, onlyCPUAndMemory bool) (*statsapi.Summary, error) {
	if m.housekeeper == nil {
		return nil, errOff
	}
	s := m.housekeeper.latest.Load()
	if s == nil || s.root == nil {
		return nil, errEarly
	}
	b := summaryBuilder{samples: s, disk: m.disks.latest.Load(), brief: onlyCPUAndMemory, now: time.Now()}
	if !onlyCPUAndMemory { // a call of statfs each, so that eviction thresholds are compared with what is now
		var err error
		if b.nodeFs, err = statFilesystem(m.config.Root); err != nil {
			return nil, err
		}
		if b.imageFs, err = statFilesystem(m.config.ImageRoot); err != nil {
			return nil, err
		}
	}
	out := &statsapi.Summary{Node: b.node(m.config.NodeName, m.started), Pods: []statsapi.PodStats{}}
	if own := m.housekeeper.own; own != "" {
		if x := s.byName[own]; x != nil {
			agent := b.system(statsapi.SystemContainerKubelet, x)
			agent.StartTime = metav1.NewTime(m.started)
			out.Node.SystemContainers = append(out.Node.SystemContainers, agent)
		}
	}
	for _, top := range m.housekeeper.tree.tops {
		if x := s.byName[top]; x != nil {
			out.Node.SystemContainers = append(out.Node.SystemContainers, b.system(statsapi.SystemContainerPods, x))
		}
	}
	if !onlyCPUAndMemory {
		if err := b.nodeRest(ctx, &out.Node, m.config.Images); err != nil {
			return nil, err
		}
	}
	pods := m.config.Pods()
	for i := range pods {
		if p, ok := b.pod(&pods[i]); ok {
			out.Pods = append(out.Pods, p)
		}
	}
	return out, nil
}

// summaryBuilder turns one look at cgroups and disks into a summary.
type summaryBuilder struct {
	samples         *samples
	disk            *diskUsage
	nodeFs, imageFs filesystem
	now             time.Time
	brief           bool
}

func (b summaryBuilder) node(name string, fallback time.Time) statsapi.NodeStats {
	root := b.samples.root
	out := statsapi.NodeStats{
		NodeName: name, StartTime: metav1.NewTime(bootTime(fallback)),
		CPU: cpuStats(root), Memory: memoryStats(root), Swap: swapStats(root),
	}
	if !b.brief {
		out.IO, out.Network = ioStats(root), networkStats(root)
	}
	return out
}

// nodeRest adds what the brief summary leaves out.
func (b summaryBuilder) nodeRest(ctx context.Context, n *statsapi.NodeStats, images func(context.Context) (Images, error)) error {
	n.Fs = fsStatsOf(b.now, b.nodeFs, b.nodeFs.used())
	n.Rlimit = rlimitStats()
	var image usage
	if images != nil {
		sum, err := images(ctx)
		if err != nil {
			return fmt.Errorf("summing up images: %w", err)
		}
		image.bytes = uint64(max(sum.Bytes, 0))
	}
	imageFs := fsStatsOf(b.now, b.imageFs, image)
	imageFs.InodesUsed = ptr(b.imageFs.used().inodes)
	var layers usage
	for _, u := range b.disk.layers {
		layers = layers.add(u)
	}
	n.Runtime = &statsapi.RuntimeStats{ImageFs: imageFs, ContainerFs: fsStatsOf(b.now, b.imageFs, layers)}
	return nil
}

func (b summaryBuilder) system(name string, x *sample) statsapi.ContainerStats {
	out := statsapi.ContainerStats{
		Name: name, StartTime: metav1.NewTime(x.spec.CreationTime),
		CPU: cpuStats(x), Memory: memoryStats(x), Swap: swapStats(x),
	}
	if !b.brief {
		out.IO = ioStats(x)
	}
	return out
}

// bootTime is when the node was started.
func bootTime(fallback time.Time) time.Time {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return fallback
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				return time.Unix(n, 0)
			}
		}
	}
	return fallback
}

// rlimitStats are how many tasks the node may have and has (kubelet: pidlimit.Stats).
func rlimitStats() *statsapi.RlimitStats {
	out := &statsapi.RlimitStats{Time: metav1.Now()}
	for _, file := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && (out.MaxPID == nil || n < *out.MaxPID) {
			out.MaxPID = &n
		}
	}
	// "1.36 3.49 4.53 2/3518 3715089": the number after the slash is that of all tasks.
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(b)); len(fields) > 3 {
			_, tasks, _ := strings.Cut(fields[3], "/")
			if n, err := strconv.ParseInt(tasks, 10, 64); err == nil {
				out.NumOfRunningProcesses = &n
			}
		}
	}
	return out
}

func ptr[T any](v T) *T { return &v }
