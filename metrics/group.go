package metrics

import (
	"fmt"

	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/container/common"
	"github.com/google/cadvisor/lib/container/libcontainer"
	"github.com/google/cadvisor/lib/fs"
	cadvisormachine "github.com/google/cadvisor/lib/machine"
	info "github.com/google/cadvisor/lib/model"
)

const rootCgroup = "/"

// handler reads one cgroup. cAdvisor's container handlers are handlers.
type handler interface {
	ContainerReference() (info.ContainerReference, error)
	GetSpec() (info.ContainerSpec, error)
	GetStats() (*info.ContainerStats, error)
	GetCgroupPath(controller string) (string, error)
	Exists() bool
}

// group reads a cgroup that is no container: the node, kubepods, a pod. It does what cAdvisor's raw handler does, without
// the inotify instance and the goroutine that come with that one and cannot be ended.
type group struct {
	name    string
	paths   map[string]string // controller -> directory; "" on cgroup v2
	machine *machine
	cgroup  *libcontainer.Handler
}

func newGroup(name string, hierarchies map[string]string, m *machine, set container.MetricSet) (*group, error) {
	paths := common.MakeCgroupPaths(hierarchies, name)
	pid := 0
	if name == rootCgroup {
		pid = 1                 // whose network is the node's
		delete(paths, "pids")   // the root has no pids.current
		delete(paths, "cpuset") // and no mask of its own
	}
	manager, err := libcontainer.NewCgroupManager(name, paths)
	if err != nil {
		return nil, fmt.Errorf("opening cgroup %s: %w", name, err)
	}
	return &group{name: name, paths: paths, machine: m, cgroup: libcontainer.NewHandler(manager, "/", pid, set)}, nil
}

func (g *group) ContainerReference() (info.ContainerReference, error) {
	return info.ContainerReference{Name: g.name}, nil
}

func (g *group) Exists() bool { return common.CgroupExists(g.paths) }

func (g *group) GetCgroupPath(controller string) (string, error) {
	if p, ok := g.paths[""]; ok {
		return p, nil
	}
	p, ok := g.paths[controller]
	if !ok {
		return "", fmt.Errorf("cgroup %s has no controller %s", g.name, controller)
	}
	return p, nil
}

func (g *group) GetSpec() (info.ContainerSpec, error) {
	isRoot := g.name == rootCgroup
	spec, err := common.GetSpec(g.paths, g.machine, isRoot, isRoot)
	if err != nil || !isRoot {
		return spec, err
	}
	memory, err := cadvisormachine.GetMachineMemoryCapacity()
	if err != nil {
		return spec, fmt.Errorf("reading the node's memory: %w", err)
	}
	swap, err := cadvisormachine.GetMachineSwapCapacity()
	if err != nil {
		return spec, fmt.Errorf("reading the node's swap: %w", err)
	}
	spec.HasMemory, spec.Memory.Limit, spec.Memory.SwapLimit = true, memory, swap
	return spec, nil
}

func (g *group) GetStats() (*info.ContainerStats, error) {
	stats, err := g.cgroup.GetStats()
	if err != nil || stats == nil {
		return nil, err
	}
	if g.name == rootCgroup {
		filesystems, err := g.machine.facts.Load().filesystems.GetGlobalFsInfo()
		if err != nil {
			return nil, fmt.Errorf("reading the node's filesystems: %w", err)
		}
		for i := range filesystems {
			stats.Filesystem = append(stats.Filesystem, fsStats(&filesystems[i]))
		}
	}
	if _, ok := g.paths["blkio"]; !ok && g.paths[""] == "" {
		stats.DiskIo = nil // nothing was read, which is not 0
	}
	if stats.DiskIo != nil {
		common.AssignDeviceNamesToDiskStats((*common.MachineInfoNamer)(g.machine.facts.Load().info), stats.DiskIo)
	}
	return stats, nil
}

// fsStats is what cAdvisor says of a filesystem of the node.
func fsStats(f *fs.Fs) info.FsStats {
	out := info.FsStats{
		Device: f.Device, Type: f.Type.String(), Limit: f.Capacity, Usage: f.Capacity - f.Free, Available: f.Available,
		ReadsCompleted: f.DiskStats.ReadsCompleted, ReadsMerged: f.DiskStats.ReadsMerged,
		SectorsRead: f.DiskStats.SectorsRead, ReadTime: f.DiskStats.ReadTime,
		WritesCompleted: f.DiskStats.WritesCompleted, WritesMerged: f.DiskStats.WritesMerged,
		SectorsWritten: f.DiskStats.SectorsWritten, WriteTime: f.DiskStats.WriteTime,
		IoInProgress: f.DiskStats.IoInProgress, IoTime: f.DiskStats.IoTime, WeightedIoTime: f.DiskStats.WeightedIoTime,
	}
	if f.Inodes != nil && f.InodesFree != nil {
		out.HasInodes, out.Inodes, out.InodesFree = true, *f.Inodes, *f.InodesFree
	}
	return out
}
