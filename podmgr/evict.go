package podmgr

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Eviction says that a pod used more of the node's disk than it may. It is a fact about what is on the disk: it goes with
// Forget.
type Eviction struct {
	UID     types.UID
	Message string // the kubelet's
}

const (
	reasonEvicted = "Evicted"
	// evictGrace is how long an evicted pod may take to end, as with the kubelet.
	evictGrace = time.Second
)

// eviction is why a pod is evicted; empty when it is not.
func (o *Observed) eviction(uid types.UID) string {
	for i := range o.Evictions {
		if o.Evictions[i].UID == uid {
			return o.Evictions[i].Message
		}
	}
	return ""
}

// evict takes an evicted pod down. One that a file wants is then forgotten with all its data, which has it begin anew:
// nobody else would bring it back. One of an API server stays as it ended, and its owner replaces it.
func (p *planner) evict(why string) (evicted bool) {
	uid := p.pod.UID
	if p.have.eviction(uid) == "" || p.want.pod.Document == nil {
		return false
	}
	for i := range p.have.Containers {
		if c := &p.have.Containers[i]; c.UID == uid && (c.State == Running || !c.State.Ended() || c.Sealed) {
			p.takeDown(c, why)
		}
	}
	switch {
	case p.have.hasContainers(uid):
	case p.sb != nil:
		p.add(action{verb: removeSandbox, uid: uid, target: p.sb.ID, why: why})
	default:
		p.add(action{verb: forget, uid: uid, why: why})
	}
	return true
}
