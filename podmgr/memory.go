package podmgr

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// memory is what a worker knows beyond what Observe sees. All of it may be lost without harm: after a restart of the
// agent images are asked for again (they are here) and failing steps start their back-off over. Owner: the worker.
type memory struct {
	uid    types.UID            // the wanted UID that pulled is about
	pulled map[string]int       // container name → 1 + the attempt that its image was made present for
	failed map[stepKey]failure  // steps whose last run failed
	ended  map[string]time.Time // container ID → when it was first seen ended; guards back-off against clock jumps
	ran    map[string]int       // container name → 1 + its highest attempt that was seen to have run
}

// failure is the last failure of a step, with its consequence.
type failure struct {
	count   int
	attempt int
	at      time.Time
	retry   time.Time
	reason  string // of a ReasonError; else empty
	message string
}

// wants tells the memory which UID is wanted. What it knew of another UID's pulls and starts is of no use any more.
func (m *memory) wants(uid types.UID) {
	if m.uid == uid {
		return
	}
	m.uid = uid
	m.pulled, m.ran = nil, nil
	for k := range m.failed {
		if k.verb.creates() && k.uid != uid {
			delete(m.failed, k)
		}
	}
}

// sees notes the ended instances and forgets what is about objects that are gone.
func (m *memory) sees(have *Observed, now time.Time) {
	for i := range have.Containers {
		c := &have.Containers[i]
		if c.UID == m.uid && c.State != Created && m.ran[c.Name] <= c.Attempt {
			if m.ran == nil {
				m.ran = map[string]int{}
			}
			m.ran[c.Name] = c.Attempt + 1
		}
		if !c.State.Ended() {
			continue
		}
		if _, known := m.ended[c.ID]; !known {
			if m.ended == nil {
				m.ended = map[string]time.Time{}
			}
			m.ended[c.ID] = now
		}
	}
	for id := range m.ended {
		if have.container(id) == nil {
			delete(m.ended, id)
		}
	}
	for k := range m.failed {
		if !have.holds(k) {
			delete(m.failed, k)
		}
	}
}

// settle notes how a step ended.
func (m *memory) settle(a action, err error, now time.Time) {
	k := a.key()
	if err == nil {
		delete(m.failed, k)
		return
	}
	f := m.failed[k]
	if f.attempt != a.attempt {
		f = failure{}
	}
	f = failure{count: f.count + 1, attempt: a.attempt, at: now, message: err.Error(), reason: reasonOf(err)}
	f.retry = now.Add(pause(a.verb, f.reason, f.count))
	if m.failed == nil {
		m.failed = map[stepKey]failure{}
	}
	m.failed[k] = f
	if a.verb == start {
		delete(m.pulled, a.container) // its image may be what is missing
	}
}

// imagesCame forgets the failures of pulls: what was missing may be here now.
func (m *memory) imagesCame() {
	for k := range m.failed {
		if k.verb == pull {
			delete(m.failed, k)
		}
	}
}

// pulledFor notes that the image of a container is here for an attempt.
func (m *memory) pulledFor(container string, attempt int) {
	if m.pulled == nil {
		m.pulled = map[string]int{}
	}
	m.pulled[container] = attempt + 1
}

// hasImage says whether the image of a container was made present for an attempt.
func (m *memory) hasImage(container string, attempt int) bool {
	return m.pulled[container] == attempt+1
}

// pause is how long to wait after a step failed count times in a row.
func pause(v verb, reason string, count int) time.Duration {
	switch {
	case v == pull && reason == reasonNeverPull: // a look at the local store, no network
		return double(time.Second, 10*time.Second, count)
	case v == pull:
		return double(10*time.Second, 300*time.Second, count) // the kubelet's
	case v == start:
		return double(time.Second, 300*time.Second, count)
	case v == ensureSandbox:
		return double(time.Second, 30*time.Second, count)
	default:
		return double(200*time.Millisecond, 30*time.Second, count)
	}
}

// double is base for the first failure, twice as much for each further one, at most limit.
func double(base, limit time.Duration, count int) time.Duration {
	d := base
	for i := 1; i < count && d < limit; i++ {
		d *= 2
	}
	return min(d, limit)
}
