package containerd

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

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
func (r *Runtime) groupKills(uid types.UID) int64 { return r.countOfPod(uid, "oom_group_kill") }

func (r *Runtime) countOfPod(uid types.UID, name string) (n int64) {
	for _, q := range qosClasses() {
		n = max(n, countIn(r.cgroups.file(r.cgroups.pod(q, uid), "", "memory", "memory.events"), name))
	}
	return n
}

// moreKills says whether there are more kills in the pod than some. The kernel counts the process before it kills it, and
// the container an instant later, when the process may have ended already.
func (r *Runtime) moreKills(uid types.UID, others int64) bool {
	for range 20 {
		if r.groupKills(uid) > others {
			return true
		}
		if r.countOfPod(uid, "oom_kill") == 0 {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// oomOfScope is oomKilled where scopes end too early; e is the exit, known what an event or the scope itself told.
func (r *Runtime) oomOfScope(uid types.UID, id string, e exit, known bool) bool {
	told, others := r.killsOf(id)
	if told || others < 0 {
		return told || known
	}
	if !known && (e.code != exitKilled || !r.moreKills(uid, others)) {
		return false
	}
	r.kills.Lock()
	defer r.kills.Unlock()
	if told, _ := r.killsOf(id); told {
		return true
	}
	r.setKills(id, toldOfKill)
	k, _ := r.index.keyOf(id)
	siblings, _ := r.index.get(k)
	for _, other := range siblings {
		// One that started later has counted this kill among the others' already.
		if _, n := r.killsOf(other); other != id && n >= 0 && r.startedAt(other).Before(e.at) {
			r.setKills(other, strconv.FormatInt(n+1, 10))
		}
	}
	return true
}

// killsOf reads a container's file: whether its own kill was told, and how many are others'; -1 when that is not known, as
// of a container that an agent started which did not count.
func (r *Runtime) killsOf(id string) (told bool, others int64) {
	b, err := os.ReadFile(filepath.Join(r.containerState(id), killsFile))
	if err != nil {
		return false, -1
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		n = -1
	}
	return string(b) == toldOfKill, n
}

func (r *Runtime) setKills(id, to string) {
	if err := writeFile(filepath.Join(r.containerState(id), killsFile), []byte(to), 0o600); err != nil {
		r.log.Warn().Err(err).Str("id", id).Msg("counting kills for want of memory")
	}
}
