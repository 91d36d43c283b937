package metrics

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/container/libcontainer"
	info "github.com/google/cadvisor/lib/model"
	"github.com/opencontainers/cgroups"
	"github.com/rs/zerolog"
)

const (
	// specMaxAge is how old limits may get; in-place changes of them are rare.
	specMaxAge = time.Minute
	// refusedFor is how long a cgroup that looks like a container, but is none of ours, is left alone.
	refusedFor = time.Minute
	// idleIntervals is how many intervals the sample of something that uses no CPU holds (the kubelet stretches to 30 s).
	idleIntervals = 3
	dialLimit     = 2 * time.Second
)

// housekeeper samples the node, the agent's cgroups and its containers at every interval. Every field but latest belongs
// to the goroutine in run.
type housekeeper struct {
	config  Config
	unified bool // cgroup v2
	machine *machine
	tree    cgroupTree
	own     string // the agent's own cgroup; "" when that is the root
	groups  container.MetricSet
	inside  container.MetricSet // of containers
	mounts  map[string]string   // hierarchies of groups
	// podMounts are those of pods. On cgroup v1 disk I/O is left out: ten files for the sum of what its containers show.
	podMounts map[string]string

	connected bool
	watched   map[string]*watched  // by cgroup name
	refused   map[string]time.Time // cgroup name -> when
	ooms      oomLedger
	disks     *disks
	log       zerolog.Logger

	// latest is the last complete look; readers share it.
	latest atomic.Pointer[samples]
}

// watched is one cgroup that is sampled.
type watched struct {
	entry    cgroupEntry
	handler  handler
	ref      info.ContainerReference
	spec     info.ContainerSpec
	specAt   time.Time
	last     *sample
	lookedAt time.Time
	cpu      uint64 // what cpuTime said then
	reported bool   // that it cannot be read
}

// samples is one look at everything; immutable.
type samples struct {
	at     time.Time
	root   *sample
	byName map[string]*sample
	pods   map[string]*sample // pod cgroups by UID
	ids    map[string]*sample // containers by ID, sandboxes included
	ooms   map[string]uint64  // OOM kills by pod UID
	// sandboxes are the samples of the pods' sandboxes, by UID: they have the pod's network.
	sandboxes map[string]*sample
}

// sample is the last look at one cgroup; immutable.
type sample struct {
	entry cgroupEntry
	ref   info.ContainerReference
	spec  info.ContainerSpec
	stats *info.ContainerStats
	// pressure says that the kernel keeps pressure stall information of it.
	pressure bool
}

// metricSets are what is collected of groups and of containers. They are the kubelet's (cadvisor_linux.go). Groups do
// without ProcessMetrics: their processes are their containers', and for the node it would read every descriptor.
func metricSets() (groups, inside container.MetricSet) {
	groups = container.MetricSet{
		container.CpuUsageMetrics: {}, container.MemoryUsageMetrics: {}, container.DiskIOMetrics: {},
		container.DiskUsageMetrics: {}, container.NetworkUsageMetrics: {}, container.OOMMetrics: {},
	}
	if cgroups.IsCgroup2UnifiedMode() && pressureAvailable() {
		groups[container.PressureMetrics] = struct{}{}
	}
	inside = container.MetricSet{container.ProcessMetrics: {}}
	return groups, inside.Append(groups)
}

func newHousekeeper(c Config, d *disks) (*housekeeper, error) {
	h := &housekeeper{
		config: c, unified: cgroups.IsCgroup2UnifiedMode(), disks: d, log: c.Log,
		watched: map[string]*watched{}, refused: map[string]time.Time{},
	}
	h.groups, h.inside = metricSets()
	var err error
	if h.machine, err = newMachine(); err != nil {
		return nil, err
	}
	if h.mounts, err = libcontainer.GetCgroupSubsystems(h.groups); err != nil {
		return nil, fmt.Errorf("finding the cgroup hierarchies: %w", err)
	}
	mount, ok := h.mounts[""]
	if !ok {
		if mount, ok = h.mounts["cpu"]; !ok {
			return nil, fmt.Errorf("finding the cgroup hierarchies: there is none with the cpu controller")
		}
	}
	h.podMounts = maps.Clone(h.mounts)
	delete(h.podMounts, "blkio")
	h.tree = newCgroupTree(mount, c.CgroupRoot)
	h.own = ownCgroup()
	return h, nil
}

// ownCgroup is the cgroup the agent runs in, such as /system.slice/agent.service.
func ownCgroup() string {
	paths, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	controller := "cpu"
	if cgroups.IsCgroup2UnifiedMode() {
		controller = ""
	}
	if own := paths[controller]; own != rootCgroup {
		return own
	}
	return ""
}

// run looks at once and then at every interval until ctx ends.
func (h *housekeeper) run(ctx context.Context) error {
	tick := time.NewTicker(h.config.Housekeeping)
	defer tick.Stop()
	for {
		h.look(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look finds what is new and gone, and samples everything once.
func (h *housekeeper) look(now time.Time) {
	if err := h.machine.refresh(now); err != nil {
		h.log.Warn().Err(err).Msg("the facts about the machine stay as they were")
	}
	pods := h.config.Pods()
	h.discover(now)

	onBoard := make(map[string]*Pod, len(pods))
	for i := range pods {
		if uid := pods[i].uid(); uid != "" {
			onBoard[uid] = &pods[i]
		}
	}
	next := &samples{
		at: now, byName: make(map[string]*sample, len(h.watched)),
		pods: map[string]*sample{}, ids: map[string]*sample{}, sandboxes: map[string]*sample{},
	}
	for name, w := range h.watched {
		s := h.sample(w, now, onBoard[w.entry.pod])
		if s == nil {
			continue
		}
		next.byName[name] = s
		switch {
		case name == rootCgroup:
			next.root = s
		case w.entry.kind == kindPod:
			next.pods[w.entry.id] = s
		case w.entry.kind == kindContainer:
			next.ids[w.entry.id] = s
			if isSandbox(s.spec.Labels) {
				next.sandboxes[w.entry.pod] = s
			}
		}
	}
	next.ooms = h.oomsOf(next, pods)
	h.latest.Store(next)
}

// discover makes handlers for what is new and forgets what is gone.
func (h *housekeeper) discover(now time.Time) {
	entries := append([]cgroupEntry{{name: rootCgroup}}, h.tree.list()...)
	if h.own != "" {
		entries = append(entries, cgroupEntry{name: h.own})
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.name] = true
		if h.watched[e.name] != nil || now.Sub(h.refused[e.name]) < refusedFor {
			continue
		}
		hd, err := h.open(e)
		if err != nil {
			h.refused[e.name] = now
			h.log.Debug().Err(err).Str("cgroup", e.name).Msg("not sampling a cgroup")
			continue
		}
		if hd == nil {
			continue
		}
		ref, err := hd.ContainerReference()
		if err != nil {
			continue
		}
		h.watched[e.name] = &watched{entry: e, handler: hd, ref: ref}
	}
	for name := range h.watched {
		if !there[name] {
			delete(h.watched, name)
		}
	}
	for name := range h.refused {
		if !there[name] {
			delete(h.refused, name)
		}
	}
}

// oomsOf are the OOM kills of every pod.
func (h *housekeeper) oomsOf(s *samples, pods []Pod) map[string]uint64 {
	seen := map[string]map[string]uint64{}
	for id, c := range s.ids {
		if seen[c.entry.pod] == nil {
			seen[c.entry.pod] = map[string]uint64{}
		}
		seen[c.entry.pod][id] = c.stats.OOMEvents
	}
	return h.ooms.update(seen, oomKilled(pods))
}
