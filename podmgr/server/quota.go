package server

import (
	"fmt"
	"sync"

	"edgepod.dev/agent/manifests"
)

// How many of a kind may go on at once on the node and for one pod; what is more is answered with 429.
const (
	maxStreams         = 128
	maxStreamsPerPod   = 32
	maxForwards        = 128
	maxForwardsPerPod  = 32
	maxFollowers       = 256 // some 100 kB each when they do not read
	maxFollowersPerPod = 64
)

// quota counts what goes on.
type quota struct {
	most, perPod int

	mu   sync.Mutex // guards the rest
	all  int
	pods map[manifests.Key]int
}

func newQuota(most, perPod int) *quota {
	return &quota{most: most, perPod: perPod, pods: map[manifests.Key]int{}}
}

// take counts one more; release must be called once.
func (q *quota) take(k manifests.Key) (release func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.pods[k] >= q.perPod:
		return nil, tooMany(fmt.Sprintf("pod %s has %d of these at once already, and no more are allowed", k, q.perPod))
	case q.all >= q.most:
		return nil, tooMany(fmt.Sprintf("the node has %d of these at once already, and no more are allowed", q.most))
	}
	q.all++
	q.pods[k]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.all--
		if q.pods[k]--; q.pods[k] == 0 {
			delete(q.pods, k)
		}
	}, nil
}
