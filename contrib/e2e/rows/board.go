package rows

import (
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// board asks the agent for its pods for all rows together: a list of a hundred pods is not to be had for each of them.
type board struct {
	node *node.Node

	mu   sync.Mutex // guards what follows, and lets one ask at a time
	at   time.Time
	err  error
	pods map[string]*v1.Pod
}

// fresh is how old the board may be.
const fresh = 100 * time.Millisecond

func (b *board) pod(name string) (*v1.Pod, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at) > fresh {
		list, err := b.node.List()
		b.at, b.err, b.pods = time.Now(), err, map[string]*v1.Pod{}
		for i := range list {
			b.pods[list[i].Name] = &list[i]
		}
	}
	return b.pods[name], b.err
}
