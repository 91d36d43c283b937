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
// any other. The cgroup is there until the task is deleted (not with the systemd driver, whose scopes end with their last
// process), so that a kill that no event told of is found: the agent, or its engine, was down.

// oomKilled says whether the kernel has killed a process of a container for want of memory.
func (r *Runtime) oomKilled(uid types.UID, id string) bool {
	if r.exits.oom(id) {
		return true
	}
	file := "memory.oom_control"
	if r.cgroups.unified {
		file = "memory.events"
	}
	for _, q := range []v1.PodQOSClass{v1.PodQOSBurstable, v1.PodQOSGuaranteed, v1.PodQOSBestEffort} {
		if oomKills(r.cgroups.file(r.cgroups.pod(q, uid), id, "memory", file)) > 0 {
			return true
		}
	}
	return false
}

// oomKills reads the count of a cgroup; what cannot be read counts none.
func oomKills(file string) (n int64) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
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
