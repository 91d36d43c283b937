package containerd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The kernel counts in a container's cgroup how many of its processes it has killed for want of memory, its first one or
// any other. The cgroup is there until the task is deleted, so that a kill that no event told of is found: the agent, or its
// engine, was down. Not so with the systemd driver on cgroup v2: see oomscope.go.

// oomKilled says whether the kernel has killed a process of a container, which has ended with e, for want of memory.
func (r *Runtime) oomKilled(uid types.UID, id string, e exit) bool {
	known := r.oomKnown(uid, id)
	if r.cgroups.systemd && r.cgroups.unified {
		return r.oomOfScope(uid, id, e, known)
	}
	return known
}

// oomKnown says whether an event or the container's cgroup tells of a kill.
func (r *Runtime) oomKnown(uid types.UID, id string) bool {
	if r.exits.oom(id) {
		return true
	}
	file := "memory.oom_control"
	if r.cgroups.unified {
		file = "memory.events"
	}
	for _, q := range qosClasses() {
		if oomKills(r.cgroups.file(r.cgroups.pod(q, uid), id, "memory", file)) > 0 {
			return true
		}
	}
	return false
}

func qosClasses() []v1.PodQOSClass {
	return []v1.PodQOSClass{v1.PodQOSBurstable, v1.PodQOSGuaranteed, v1.PodQOSBestEffort}
}

// oomKills reads how many processes were killed in a cgroup; what cannot be read counts none.
func oomKills(file string) int64 { return countIn(file, "oom_kill") }

// countIn reads a number of a file of lines with a name and a number.
func countIn(file, name string) (n int64) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return n
}

// bundleOOM is oomKills of the container of a bundle, for the time before the engine starts: it deletes the tasks that
// have ended, with their cgroups.
func bundleOOM(bundle string) bool {
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return false
	}
	var spec struct {
		Linux struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}
	if json.Unmarshal(b, &spec) != nil || !filepath.IsAbs(spec.Linux.CgroupsPath) {
		return false
	}
	path := spec.Linux.CgroupsPath
	return oomKills(filepath.Join("/sys/fs/cgroup/memory", path, "memory.oom_control")) > 0 ||
		oomKills(filepath.Join("/sys/fs/cgroup", path, "memory.events")) > 0
}
