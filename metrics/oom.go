package metrics

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// oomKills is what the kernel counts of OOM kills in a cgroup, in the order of what kernels have: memory.events (v2,
// whole subtree), memory.oom_control (v1, this cgroup alone).
func oomKills(memoryCgroup string) uint64 {
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		if n, ok := counterIn(filepath.Join(memoryCgroup, file), "oom_kill"); ok {
			return n
		}
	}
	return 0
}

// nodeOOMKills counts all OOM kills since boot, those of cgroups included (Linux 4.13).
func nodeOOMKills() uint64 {
	n, _ := counterIn("/proc/vmstat", "oom_kill")
	return n
}

// counterIn finds "key value" in a flat keyed file of the kernel.
func counterIn(file, key string) (uint64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		name, value, found := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if !found || string(name) != key {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// oomLedger counts the OOM kills of each pod across its containers' instances. An instance takes its cgroup, and the
// kernel's counter with it, along when it ends: on cgroup v1 the pod's own counter never moves, and a container that is
// killed as a whole is gone before the next look. It belongs to the housekeeper's goroutine.
type oomLedger struct {
	pods map[string]*oomPod // by UID
}

type oomPod struct {
	settled   uint64            // kills of instances that nobody mentions any more
	instances map[string]uint64 // by container ID
}

// update takes in what is known now and returns the count of each pod. seen are the kernel's counters of the containers
// that exist (by pod UID, then ID), killed the IDs of ended containers whose reason is OOMKilled.
func (l *oomLedger) update(seen map[string]map[string]uint64, killed map[string][]string) map[string]uint64 {
	if l.pods == nil {
		l.pods = map[string]*oomPod{}
	}
	pod := func(uid string) *oomPod {
		if l.pods[uid] == nil {
			l.pods[uid] = &oomPod{instances: map[string]uint64{}}
		}
		return l.pods[uid]
	}
	mentioned := map[string]bool{}
	for uid, containers := range seen {
		for id, n := range containers {
			mentioned[id] = true
			if p := pod(uid); n > p.instances[id] {
				p.instances[id] = n
			}
		}
	}
	for uid, ids := range killed {
		for _, id := range ids {
			mentioned[id] = true
			if p := pod(uid); p.instances[id] == 0 {
				p.instances[id] = 1
			}
		}
	}
	out := make(map[string]uint64, len(l.pods))
	for uid, p := range l.pods {
		_, exists := seen[uid]
		if _, told := killed[uid]; !exists && !told {
			delete(l.pods, uid)
			continue
		}
		sum := p.settled
		for id, n := range p.instances {
			sum += n
			if !mentioned[id] {
				p.settled += n
				delete(p.instances, id)
			}
		}
		out[uid] = sum
	}
	return out
}
