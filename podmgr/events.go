package podmgr

import (
	"slices"
	"strings"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
)

// Bounds of the event ring. A full ring holds about 1 MB at the very worst (messages of the longest kind).
const (
	maxEvents       = 1000
	maxEventsPerPod = 100
	maxEventMessage = 1024 // bytes; the API server's own bound
)

// eventRing keeps the latest events in the order of their last occurrence. Events are replaced, never written to, so a
// reader holds the lock only to copy pointers.
type eventRing struct {
	mu     sync.Mutex
	events []*Event // oldest Last first; guarded by mu
	// version counts the additions; guarded by mu.
	version uint64
}

// add appends e, merged with an earlier event of the same pod, container, reason and message.
func (r *eventRing) add(e Event) {
	if e.Last.IsZero() {
		e.Last = time.Now()
	}
	if e.First.IsZero() {
		e.First = e.Last
	}
	if e.Count == 0 {
		e.Count = 1
	}
	if len(e.Message) > maxEventMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxEventMessage-len("…")], "") + "…"
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	same, oldest, ofPod := -1, -1, 0
	for i, o := range r.events {
		if o.Pod != e.Pod {
			continue
		}
		ofPod++
		if oldest < 0 {
			oldest = i
		}
		if o.Container == e.Container && o.Reason == e.Reason && o.Message == e.Message && o.Type == e.Type {
			same = i
		}
	}
	switch {
	case same >= 0:
		e.Count += r.events[same].Count
		e.First = r.events[same].First
		r.drop(same)
	case ofPod >= maxEventsPerPod:
		r.drop(oldest)
	case len(r.events) >= maxEvents:
		r.drop(0)
	}
	r.events = append(r.events, &e)
	r.version++
}

// drop removes the event at i. The caller holds mu.
func (r *eventRing) drop(i int) {
	copy(r.events[i:], r.events[i+1:])
	r.events[len(r.events)-1] = nil
	r.events = r.events[:len(r.events)-1]
}

// list copies the events of k, or all for the zero key.
func (r *eventRing) list(k manifests.Key) []Event {
	r.mu.Lock()
	held := make([]*Event, len(r.events))
	copy(held, r.events)
	r.mu.Unlock()
	var out []Event
	for _, e := range held {
		if k == (manifests.Key{}) || e.Pod == k {
			out = append(out, *e)
		}
	}
	return out
}

// newest copies the newest events, and says which version of the ring they are of.
func (r *eventRing) newest(most int) ([]*Event, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events[max(0, len(r.events)-most):]), r.version
}
