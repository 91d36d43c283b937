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
	// minNormal is how many normal events are kept of a full ring or a pod with too many, as a share: beyond that warnings
	// outlive them. What a person has to mend stands until it is pushed out by what else has to be.
	minNormal = 4
)

// eventRing keeps the latest events in the order of their last occurrence. Events are replaced, never written to, so a
// reader holds the lock only to copy pointers.
type eventRing struct {
	mu     sync.Mutex
	events []*Event // oldest Last first; guarded by mu
	// version counts the additions, warned is the version that the last new warning made; guarded by mu.
	version, warned uint64
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
	same, ofPod := -1, 0
	for i, o := range r.events {
		if o.Pod != e.Pod {
			continue
		}
		ofPod++
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
		r.drop(least(r.events, maxEventsPerPod, func(o *Event) bool { return o.Pod == e.Pod }))
	case len(r.events) >= maxEvents:
		r.drop(least(r.events, maxEvents, func(*Event) bool { return true }))
	}
	r.events = append(r.events, &e)
	r.version++
	if same < 0 && e.Type == warning {
		r.warned = r.version
	}
}

// least is the event that goes first of those that are meant, of which most may be kept: the oldest normal one, or the
// oldest of all when few of them are normal.
func least(events []*Event, most int, meant func(*Event) bool) int {
	oldest, normals, oldestNormal := -1, 0, -1
	for i, e := range events {
		if !meant(e) {
			continue
		}
		if oldest < 0 {
			oldest = i
		}
		if e.Type != warning {
			if normals++; oldestNormal < 0 {
				oldestNormal = i
			}
		}
	}
	if normals > most/minNormal {
		return oldestNormal
	}
	return oldest
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

// newest copies the newest events, warnings before normal ones, and says which version of the ring they are of.
func (r *eventRing) newest(most int) ([]*Event, uint64) {
	r.mu.Lock()
	events, version := slices.Clone(r.events), r.version
	r.mu.Unlock()
	// From the newest on: some of any kind, then room for normal ones only as warnings leave it.
	warnings := 0
	for _, e := range events {
		if e.Type == warning {
			warnings++
		}
	}
	normals := max(most-warnings, most/minNormal)
	warnings = most - min(normals, len(events)-warnings)
	var out []*Event
	for _, e := range slices.Backward(events) {
		left := &normals
		if e.Type == warning {
			left = &warnings
		}
		if *left > 0 {
			*left--
			out = append(out, e)
		}
	}
	slices.Reverse(out)
	return out, version
}

// news says which version the ring has, and whether a warning came after the given one that was not there before.
func (r *eventRing) news(since uint64) (version uint64, warned bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version, r.warned > since
}
