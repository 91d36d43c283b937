package containerd

import (
	"slices"
	"sync"

	"edgepod.dev/agent/podmgr"
	"k8s.io/apimachinery/pkg/types"
)

// notes keeps what Observe tells of a pod beside its state. They are lost with the agent and come again when the step that
// found them is done again.
type notes struct {
	mu sync.Mutex
	m  map[types.UID][]podmgr.Note // in the order in which they were found
}

func newNotes() *notes { return &notes{m: map[types.UID][]podmgr.Note{}} }

// set replaces the notes of a pod's container (or of the pod itself) with one of the reasons by others; none takes them
// back.
func (n *notes) set(uid types.UID, container string, reasons []string, found ...podmgr.Note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.m[uid]
	kept := slices.DeleteFunc(slices.Clone(old), func(o podmgr.Note) bool {
		return o.Container == container && slices.Contains(reasons, o.Reason)
	})
	for _, f := range found {
		f.UID = uid
		kept = append(kept, f)
	}
	if len(kept) == 0 {
		delete(n.m, uid)
		return
	}
	n.m[uid] = kept
}

func (n *notes) of(uids []types.UID) (all []podmgr.Note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, uid := range uids {
		all = append(all, n.m[uid]...)
	}
	return all
}

func (n *notes) forget(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.m, uid)
}
