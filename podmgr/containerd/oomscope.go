package containerd

import (
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
)

// A scope of systemd ends with its last process, and on cgroup v2 its counts go with it, often before the shim has read them:
// no event comes, and nothing is left to be read. The pod's slice stays, and counts how often the kernel has killed one of its
// containers whole (memory.oom.group is set). So each container keeps how many of these kills are not its own; one that has
// ended by SIGKILL while there are more was killed for want of memory.

// killsFile in <state>/containers/<id> holds that number, or toldOfKill when a kill of this container was seen.
const (
	killsFile  = "oom-kills"
	toldOfKill = "told"
)

// expectKills notes the kills of the pod before a container starts.
func (r *Runtime) expectKills(uid types.UID, dir string) error {
	if !r.cgroups.systemd || !r.cgroups.unified {
		return nil
	}
	return writeFile(filepath.Join(dir, killsFile), strconv.AppendInt(nil, r.groupKills(uid), 10), 0o600)
}

// groupKills is how often a container of the pod was killed whole.
func (r *Runtime) groupKills(uid types.UID) (n int64) {
	for _, q := range qosClasses() {
		n = max(n, countIn(r.cgroups.file(r.cgroups.pod(q, uid), "", "memory", "memory.events"), "oom_group_kill"))
	}
	return n
}

// oomOfScope is oomKilled where scopes end too early; known is what an event or the scope itself told.
func (r *Runtime) oomOfScope(uid types.UID, id string, code uint32, known bool) bool {
	r.kills.Lock()
	defer r.kills.Unlock()
	file := filepath.Join(r.containerState(id), killsFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return known // it was started by an agent that did not count
	}
	if string(b) == toldOfKill {
		return true
	}
	others, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || !known && (code != exitKilled || r.groupKills(uid) <= others) {
		return known
	}
	if err := writeFile(file, []byte(toldOfKill), 0o600); err != nil {
		return true
	}
	k, _ := r.index.keyOf(id)
	siblings, _ := r.index.get(k)
	for _, other := range siblings {
		file := filepath.Join(r.containerState(other), killsFile)
		if b, err := os.ReadFile(file); other != id && err == nil {
			if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
				_ = writeFile(file, strconv.AppendInt(nil, n+1, 10), 0o600) // else a SIGKILL of it may be taken for this kill
			}
		}
	}
	return true
}
