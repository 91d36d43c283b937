package metrics

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/cadvisor/lib/fs"
	"github.com/google/cadvisor/lib/fs/btrfs"
	"github.com/google/cadvisor/lib/fs/vfs"
	cadvisormachine "github.com/google/cadvisor/lib/machine"
	info "github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/utils/sysfs"
	"github.com/google/cadvisor/lib/version"
)

// machineMaxAge is how old the facts about the machine may get: memory, CPUs and disks come and go rarely.
const machineMaxAge = 5 * time.Minute

// machine holds what cAdvisor knows of the node. Its facts are shared and immutable; cAdvisor's own manager copies them
// for every container at every interval.
type machine struct {
	sysfs sysfs.SysFs
	facts atomic.Pointer[machineFacts]
}

type machineFacts struct {
	at          time.Time
	info        *info.MachineInfo
	filesystems fs.FsInfo
}

var _ info.MachineInfoFactory = (*machine)(nil)

// newMachine reads the facts for the first time.
func newMachine() (*machine, error) {
	// cAdvisor keeps its filesystem plugins in a global table, filled by the init of packages that are not imported here.
	// Overlay is left out on purpose: with it every container's root would be a filesystem of the node.
	if fs.GetPluginForFsType("ext4") == nil {
		for name, plugin := range map[string]fs.FsPlugin{"vfs": vfs.NewPlugin(), "btrfs": btrfs.NewPlugin()} {
			if err := fs.RegisterPlugin(name, plugin); err != nil {
				return nil, fmt.Errorf("registering cAdvisor's plugin: %w", err)
			}
		}
	}
	m := &machine{sysfs: sysfs.NewRealSysFs()}
	return m, m.refresh(time.Now())
}

// refresh reads the facts again when they are too old; a mount that is new since then becomes known.
func (m *machine) refresh(now time.Time) error {
	if f := m.facts.Load(); f != nil && now.Sub(f.at) < machineMaxAge {
		return nil
	}
	filesystems, err := fs.NewFsInfo(fs.Context{})
	if err != nil {
		return fmt.Errorf("reading the node's filesystems: %w", err)
	}
	facts, err := cadvisormachine.Info(m.sysfs, filesystems, true)
	if err != nil {
		return fmt.Errorf("reading the facts about the machine: %w", err)
	}
	m.facts.Store(&machineFacts{at: now, info: facts, filesystems: filesystems})
	return nil
}

// GetMachineInfo implements info.MachineInfoFactory; what it returns is shared and must not be written to.
func (m *machine) GetMachineInfo() (*info.MachineInfo, error) { return m.facts.Load().info, nil }

// GetVersionInfo implements info.MachineInfoFactory.
func (m *machine) GetVersionInfo() (*info.VersionInfo, error) {
	return &info.VersionInfo{
		KernelVersion:      cadvisormachine.KernelVersion(),
		ContainerOsVersion: cadvisormachine.ContainerOsVersion(),
		CadvisorVersion:    version.Info["version"],
		CadvisorRevision:   version.Info["revision"],
	}, nil
}
