package dir

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
)

const (
	// confirm is how long a document has to be missing before its pod is removed. Editors and git take a file away for
	// some microseconds when they save it, and a directory read during a rename may show neither name.
	confirm = 25 * time.Millisecond
	// burst bounds the wait while more and more documents go missing, so that an "rm *" is judged as one removal.
	burst = 100 * time.Millisecond
	// guarded is the number of pods from which on the removal of more than half of them waits.
	guarded = 4
	// unknownRetry is the time between looks at a directory that cannot be read.
	unknownRetry = 500 * time.Millisecond
	// firstWait is how long the first snapshot waits for files that are being written: it may lead to removals.
	firstWait = 2 * time.Second
)

// claim is one wanted pod and the file that owns its key.
type claim struct {
	pod  *manifests.Pod
	file string // name in the directory
	// beside lists the problems that the file had when pod was read: a new one may be this pod, broken; one of these
	// is not.
	beside []string
}

// state is what merge remembers. It is never written through: merge returns a new one.
type state struct {
	claims map[manifests.Key]claim
	// missing is when the document of a key was first not found.
	missing map[manifests.Key]time.Time
	// hold is until when a key stays wanted although its document is gone together with many others.
	hold map[manifests.Key]time.Time
	// place is the directory in which documents were last found.
	place place
	// begun is when the first listing was merged; sent says that a snapshot was made.
	begun time.Time
	sent  bool
	// unknown says why the directory cannot be read; empty while it can.
	unknown string
}

// rules are the settings of merge.
type rules struct {
	source string
	dir    string
	grace  time.Duration
}

// offer is one document that defines a pod.
type offer struct {
	pod  *manifests.Pod
	file *file
}

// merger is one run of merge.
type merger struct {
	rules
	prev, next state
	l          listing
	now        time.Time
	byName     map[string]*file
	offers     map[manifests.Key][]offer
	chosen     map[manifests.Key]offer
	kept       map[manifests.Key]bool
	wake       time.Time
}

// merge decides what is wanted after a look at the directory. It is pure. The snapshot is nil while the set is not known
// for the first time; wake is when to look again even if nothing happens, zero for never.
func merge(prev state, l listing, now time.Time, r rules) (state, *manifests.Snapshot, time.Time) {
	m := merger{rules: r, prev: prev, l: l, now: now}
	m.next = state{
		claims: maps.Clone(prev.claims), missing: map[manifests.Key]time.Time{}, hold: map[manifests.Key]time.Time{},
		place: prev.place, begun: prev.begun, sent: prev.sent,
	}
	if m.next.claims == nil {
		m.next.claims = map[manifests.Key]claim{}
	}
	if m.next.begun.IsZero() {
		m.next.begun = now
	}
	if m.l.unknown == nil && prev.place.mount && !l.place.mount && len(l.files) == 0 && len(prev.claims) > 0 {
		m.l.unknown = errUnmounted
	}
	if m.l.unknown != nil {
		return m.unknown()
	}
	m.index()
	gone := m.settle()
	m.remove(gone)
	m.admit()
	if len(l.files) > 0 || len(m.next.claims) == 0 {
		m.next.place = l.place
	}
	if !m.next.sent && m.unread() && now.Before(m.next.begun.Add(firstWait)) {
		return m.next, nil, earliest(m.wake, m.next.begun.Add(firstWait))
	}
	m.next.sent = true
	ps := m.problems() // may bring m.wake forward
	return m.next, m.snapshot(ps), m.wake
}

// unknown keeps all that is wanted. Without anything wanted nothing is said before the directory was read once: an empty
// first snapshot would mean "remove all that runs".
func (m *merger) unknown() (state, *manifests.Snapshot, time.Time) {
	m.next.unknown = m.l.unknown.Error()
	wake := m.now.Add(unknownRetry)
	if !m.next.sent && len(m.next.claims) == 0 {
		return m.next, nil, wake
	}
	m.next.sent = true
	return m.next, m.snapshot([]manifests.Problem{unknownProblem(m.dir, m.l.unknown, len(m.next.claims))}), wake
}

// index finds every document of every file.
func (m *merger) index() {
	m.byName, m.offers = map[string]*file{}, map[manifests.Key][]offer{}
	m.chosen, m.kept = map[manifests.Key]offer{}, map[manifests.Key]bool{}
	for i := range m.l.files {
		f := &m.l.files[i]
		m.byName[f.name] = f
		for _, p := range f.pods {
			m.offers[p.Key()] = append(m.offers[p.Key()], offer{p, f})
		}
	}
}

// settle updates the claims whose documents are here or may be, and returns the keys of the others.
func (m *merger) settle() []manifests.Key {
	var gone []manifests.Key
	for _, k := range sortedKeys(m.next.claims) {
		c := m.next.claims[k]
		f := m.byName[c.file]
		own := func(o offer) bool { return o.file == f }
		same := func(o offer) bool { return o.pod.UID() == c.pod.UID() }
		switch {
		case f != nil && m.take(k, func(o offer) bool { return own(o) && same(o) }):
		case f != nil && m.take(k, own):
		case f != nil && m.mayHold(f, k):
			m.kept[k] = true
		case m.take(k, same):
		case !m.prev.hold[k].IsZero() && m.take(k, func(offer) bool { return true }):
		default:
			gone = append(gone, k)
		}
	}
	return gone
}

// take gives a key to the first offer that fits.
func (m *merger) take(k manifests.Key, fits func(offer) bool) bool {
	i := slices.IndexFunc(m.offers[k], fits)
	if i < 0 {
		return false
	}
	o := m.offers[k][i]
	m.chosen[k] = o
	pod := o.pod
	// The pointer is kept while nothing of the pod changed, so that a comment edited elsewhere is no new snapshot.
	if old := m.next.claims[k].pod; old != nil && old.Origin == pod.Origin && reflect.DeepEqual(old.Object, pod.Object) {
		pod = old
	}
	m.next.claims[k] = claim{pod: pod, file: o.file.name, beside: labels(o.file)}
	return true
}

// mayHold says whether a file that does not offer the key may still be meant to define it.
func (m *merger) mayHold(f *file, k manifests.Key) bool {
	if f.fault != nil || !f.held.IsZero() || f.empty {
		return true
	}
	return slices.ContainsFunc(f.problems, func(p manifests.Problem) bool { return m.about(p, k) })
}

// about says whether a problem of the file that owns k may be about k: it names k, or it is new since k was good and
// names no other pod that is known. A name that was broken by the edit names nothing known.
func (m *merger) about(p manifests.Problem, k manifests.Key) bool {
	if p.Pod == k {
		return true
	}
	_, other := m.prev.claims[p.Pod]
	return !other && !slices.Contains(m.next.claims[k].beside, label(p))
}

// labels lists the problems of a file, sorted.
func labels(f *file) []string {
	var ls []string
	for _, p := range f.problems {
		ls = append(ls, label(p))
	}
	slices.Sort(ls)
	return slices.Compact(ls)
}

// label tells problems apart without their line, which moves with edits elsewhere in the file.
func label(p manifests.Problem) string { return p.Pod.String() + " " + p.Field + " " + p.Message }

// remove decides about keys whose documents are gone: not yet, taken over by another document, on hold, or removed.
func (m *merger) remove(gone []manifests.Key) {
	var fresh, lost []manifests.Key
	var newest, oldest time.Time
	for _, k := range gone {
		if until := m.prev.hold[k]; !until.IsZero() {
			m.holdUntil(k, until)
			continue
		}
		since, ok := m.prev.missing[k]
		if !ok {
			since = m.now
		}
		m.next.missing[k] = since
		oldest = earliest(oldest, since)
		if since.After(newest) {
			newest = since
		}
		fresh = append(fresh, k)
	}
	if len(fresh) == 0 {
		return
	}
	if ripe := earliest(newest.Add(confirm), oldest.Add(burst)); m.now.Before(ripe) {
		m.wake = earliest(m.wake, ripe)
		return
	}
	total := len(m.next.claims) - len(m.next.hold)
	for _, k := range fresh {
		delete(m.next.missing, k)
		if !m.take(k, func(offer) bool { return true }) {
			lost = append(lost, k)
		}
	}
	replaced := !m.prev.place.zero() && m.prev.place != m.l.place && len(m.l.files) == 0
	mass := replaced || total >= guarded && 2*len(lost) > total
	for _, k := range lost {
		if mass {
			m.holdUntil(k, m.now.Add(m.grace))
		} else {
			delete(m.next.claims, k)
		}
	}
}

// holdUntil keeps a key wanted until then. The look that finds it still gone after that time is the second scan.
func (m *merger) holdUntil(k manifests.Key, until time.Time) {
	if !m.now.Before(until) {
		delete(m.next.claims, k)
		return
	}
	m.next.hold[k] = until
	m.wake = earliest(m.wake, until)
}

// admit gives keys that nobody owns to the first document that defines them.
func (m *merger) admit() {
	for k := range m.offers {
		if _, ok := m.next.claims[k]; !ok {
			m.take(k, func(offer) bool { return true })
		}
	}
}

// unread says whether a file is here that was never read because it is being written, and that owns nothing yet.
func (m *merger) unread() bool {
	return slices.ContainsFunc(m.l.files, func(f file) bool {
		if f.held.IsZero() || f.version != (Version{}) {
			return false
		}
		for _, c := range m.next.claims {
			if c.file == f.name {
				return false
			}
		}
		return true
	})
}

func (m *merger) snapshot(problems []manifests.Problem) *manifests.Snapshot {
	s := &manifests.Snapshot{Source: m.source, Problems: problems}
	for _, k := range sortedKeys(m.next.claims) {
		s.Pods = append(s.Pods, m.next.claims[k].pod)
	}
	return s
}

func sortedKeys[V any](in map[manifests.Key]V) []manifests.Key {
	return slices.SortedFunc(maps.Keys(in), func(a, b manifests.Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
