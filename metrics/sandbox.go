package metrics

import (
	"fmt"

	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/container/libcontainer"
	info "github.com/google/cadvisor/lib/model"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
)

// sandboxHandler reads of a pod's sandbox what only it has: the network. What its pause uses is part of the pod's numbers,
// and of no interest for itself; not reading it saves a third of all housekeeping.
type sandboxHandler struct {
	container.ContainerHandler
	network *libcontainer.Handler
}

// newSandboxHandler wraps the handler of a sandbox.
func newSandboxHandler(of container.ContainerHandler) (*sandboxHandler, error) {
	pids, err := of.ListProcesses(container.ListSelf)
	if err != nil {
		return nil, fmt.Errorf("finding the process of a sandbox: %w", err)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("finding the process of a sandbox: there is none")
	}
	// A manager without hierarchies reads no cgroup.
	none, err := fs.NewManager(&cgroups.Cgroup{Resources: &cgroups.Resources{}}, map[string]string{})
	if err != nil {
		return nil, fmt.Errorf("opening a sandbox: %w", err)
	}
	set := container.MetricSet{container.NetworkUsageMetrics: {}}
	return &sandboxHandler{of, libcontainer.NewHandler(none, "/", pids[0], set)}, nil
}

// GetStats overrides that of the wrapped handler.
func (h *sandboxHandler) GetStats() (*info.ContainerStats, error) {
	stats, err := h.network.GetStats()
	if err != nil {
		return nil, fmt.Errorf("reading the network of a sandbox: %w", err)
	}
	stats.Cpu, stats.Memory = nil, nil // nothing was read, which is not 0
	stats.Processes = &info.ProcessStats{ProcessCount: 1}
	return stats, nil
}
