package metrics

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/cadvisor/lib/container"
	info "github.com/google/cadvisor/lib/model"
)

// sample reads one cgroup; nil when there is nothing to read.
func (h *housekeeper) sample(w *watched, now time.Time, pod *Pod) *sample {
	if now.Sub(w.specAt) >= specMaxAge {
		spec, err := w.handler.GetSpec()
		if err != nil {
			return nil // it is going away
		}
		w.spec, w.specAt = spec, now
	}
	cpu, known := h.cpuTime(w)
	if known && w.last != nil && cpu == w.cpu && now.Sub(w.lookedAt) < idleIntervals*h.config.Housekeeping-h.config.Housekeeping/2 {
		return w.last
	}
	w.cpu, w.lookedAt = cpu, now
	stats, err := w.handler.GetStats()
	if err != nil || stats == nil {
		if err != nil && w.handler.Exists() && !w.reported {
			w.reported = true
			h.log.Warn().Err(err).Str("cgroup", w.entry.name).Msg("a cgroup cannot be read")
		}
		return nil
	}
	w.reported = false
	spec := w.spec
	switch {
	case w.entry.name == rootCgroup:
		nodePressure(stats)
		stats.OOMEvents = nodeOOMKills()
	case w.entry.kind == kindContainer && isSandbox(spec.Labels):
		h.mendNetwork(w, stats)
		if pod != nil && pod.Object.Spec.HostNetwork {
			spec.HasNetwork, stats.Network = false, nil // it is the node's, and must not be counted for every such pod
		}
	case w.entry.kind == kindContainer:
		if dir, err := w.handler.GetCgroupPath("memory"); err == nil {
			stats.OOMEvents = oomKills(dir)
		}
		stats.Filesystem = h.disks.containerFs(w.entry.id)
		spec.HasFilesystem = len(stats.Filesystem) > 0
	}
	if w.last != nil {
		if inst, err := info.InstCpuStats(w.last.stats, stats); err == nil {
			stats.CpuInst = inst
		}
	}
	w.last = &sample{entry: w.entry, ref: w.ref, spec: spec, stats: stats, pressure: h.groups.Has(container.PressureMetrics)}
	if w.entry.name == rootCgroup {
		w.last.pressure = pressureAvailable()
	}
	return w.last
}

// cpuTime is what a pod or container has used of the CPU, in the kernel's unit: as long as it does not grow, nothing
// happens in there, and the last sample holds. It is one file, a look is forty. Known is false for what is looked at
// every time: groups, and sandboxes, whose network moves without them.
func (h *housekeeper) cpuTime(w *watched) (cpu uint64, known bool) {
	if _, isSandbox := w.handler.(*sandboxHandler); isSandbox || w.entry.kind == kindGroup {
		return 0, false
	}
	dir, err := w.handler.GetCgroupPath("cpuacct")
	if err != nil {
		return 0, false
	}
	if h.unified {
		return counterIn(filepath.Join(dir, "cpu.stat"), "usage_usec")
	}
	b, err := os.ReadFile(filepath.Join(dir, "cpuacct.usage"))
	if err != nil {
		return 0, false
	}
	cpu, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return cpu, err == nil
}

// mendNetwork opens a sandbox anew whose network was there and is gone: its pause was replaced, and cAdvisor reads the
// network of the process that was there at first.
func (h *housekeeper) mendNetwork(w *watched, stats *info.ContainerStats) {
	had := w.last != nil && w.last.stats.Network != nil && len(w.last.stats.Network.Interfaces) > 0
	if has := stats.Network != nil && len(stats.Network.Interfaces) > 0; has || !had {
		return
	}
	hd, err := h.open(w.entry)
	if err != nil || hd == nil {
		return
	}
	w.handler = hd
	if fresh, err := hd.GetStats(); err == nil && fresh != nil {
		*stats = *fresh
	}
}
