package podmgr

import (
	"errors"
	"maps"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// memory is what a worker knows beyond what Observe sees. All of it may be lost without harm: after a restart of the
// agent images are asked for again (they are here), failing steps start their back-off over, and what was found out about
// instances is read off their marks. Owner: the worker.
type memory struct {
	uid      types.UID           // the wanted UID that pulled and launched are about
	pulled   map[string]int      // container name → 1 + the attempt that its image was made present for
	launched map[string]int      // container name → 1 + the attempt that this worker started last
	failed   map[stepKey]failure // steps whose last run failed
	ran      map[string]int      // container name → 1 + its highest attempt that was seen to have run
	notes    map[string]*note    // container ID → what is known of the instance
	crashMax time.Duration       // Options.MaxRestartPeriod
	// down is when the time for a whole pod to end is over; no entry: nothing ends it.
	down map[types.UID]time.Time
	// recalled are the pods of which something is left, the wanted one included.
	recalled map[types.UID]recalled
	// shown is the pod whose data the mounted volumes show; nil: not known.
	shown *manifests.Pod
	// noted are the notes of which events were made.
	noted map[Note]bool
}

// recalled is what is known of a pod of which something is left.
type recalled struct {
	pod *v1.Pod // nil: not known
	// since is when it came to the node, zero when not known; learnt is when the worker learnt that.
	since, learnt time.Time
	asked         bool // the runtime was asked
}

// failure is the last failure of a step, with its consequence.
type failure struct {
	count   int
	attempt int
	at      time.Time
	retry   time.Time
	reason  string // of a ReasonError; else empty
	// rejected is a ReasonError's.
	rejected bool
	message  string
}

// wants tells the memory what is wanted. What it knew of another UID's pulls and starts is of no use any more.
func (m *memory) wants(w want) {
	uid := w.uid()
	if w.pod != nil {
		if r := m.recalled[w.pod.UID()]; r.pod != w.pod.Object {
			r.pod = w.pod.Object
			m.setRecalled(w.pod.UID(), r)
		}
	}
	if m.uid == uid {
		return
	}
	m.uid = uid
	m.pulled, m.launched, m.ran, m.shown = nil, nil, nil, nil
	delete(m.down, uid)
	for k := range m.failed {
		if k.verb.creates() && k.uid != uid {
			delete(m.failed, k)
		}
	}
}

func (m *memory) setRecalled(uid types.UID, r recalled) {
	if m.recalled == nil {
		m.recalled = map[types.UID]recalled{}
	}
	m.recalled[uid] = r
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
		if c.State.Ended() && m.endSeen(c).IsZero() {
			m.note(c.ID).endSeen = now
		}
	}
	for id := range m.notes {
		if have.container(id) == nil {
			delete(m.notes, id)
		}
	}
	for uid := range m.down {
		if !have.lives(uid) {
			delete(m.down, uid)
		}
	}
	for uid := range m.recalled {
		if uid != m.uid && !have.hasAny(uid) {
			delete(m.recalled, uid)
		}
	}
	for k := range m.failed {
		if !have.holds(k) {
			delete(m.failed, k)
		}
	}
}

// endSeen is when an instance was first seen ended; zero: it was not.
func (m *memory) endSeen(c *Container) time.Time {
	if n := m.notes[c.ID]; n != nil {
		return n.endSeen
	}
	return time.Time{}
}

// launches notes that a step begins. It returns whether an instance is told to end for the first time.
func (m *memory) launches(a *action, now time.Time) (told bool) {
	switch a.verb {
	case start:
		if m.launched == nil {
			m.launched = map[string]int{}
		}
		m.launched[a.container] = a.attempt + 1
	case preStop, stop:
		n, until := m.note(a.target), now.Add(a.budget)
		told = n.until.IsZero()
		if told || until.Before(n.until) {
			n.until = until
		}
		if before, ok := m.down[a.uid]; a.all && (!ok || until.Before(before)) {
			if m.down == nil {
				m.down = map[types.UID]time.Time{}
			}
			m.down[a.uid] = until
		}
	}
	return told
}

// adopted says whether an instance was started by an agent before this one.
func (m *memory) adopted(c *Container) bool { return m.launched[c.Name] != c.Attempt+1 }

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
	if re := (*ReasonError)(nil); errors.As(err, &re) {
		f.rejected = re.Rejected
	}
	f.retry = now.Add(pause(a.verb, f.reason, f.count))
	if m.failed == nil {
		m.failed = map[stepKey]failure{}
	}
	m.failed[k] = f
	if a.verb == start {
		m.askAgain(a.container)
	}
}

// stale says whether the mounted volumes of a pod may show something else than it carries.
func (m *memory) stale(p *manifests.Pod) bool {
	if m.shown == p {
		return false
	}
	if m.shown == nil { // an agent before this one made them
		for i := range p.Object.Spec.Volumes {
			if manifests.VolumeHasFiles(&p.Object.Spec.Volumes[i]) {
				return true
			}
		}
		return false
	}
	return !m.shown.Bound.Equal(p.Bound) || !maps.Equal(m.shown.Object.Labels, p.Object.Labels) ||
		!maps.Equal(m.shown.Object.Annotations, p.Object.Annotations)
}

// changed tells the memory that the wanted pod carries other data under the same UID: what failed for want of an object
// may succeed now.
func (m *memory) changed() {
	for k := range m.failed {
		switch k.verb {
		case start, refresh, resize, ensureSandbox, pull:
			delete(m.failed, k)
		}
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
	case v == ensureSandbox && reason == ReasonHostPort: // the runtime has waited already
		return time.Second
	case v == start:
		return double(time.Second, 300*time.Second, count)
	case v == ensureSandbox, v == refresh, v == resize:
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
