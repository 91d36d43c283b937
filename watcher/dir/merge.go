package dir

import (
	"maps"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
)

const (
	// confirm is how long a document has to be missing before its pod is removed. Editors and git take a file away for
	// some microseconds when they save it, and a directory read during a rename may show neither name.
	confirm = 40 * time.Millisecond
	// burst bounds the wait while more and more documents go missing, so that an "rm *" is judged as one removal.
	burst = 100 * time.Millisecond
	// guarded is the number of pods from which on the removal of more than half of them waits.
	guarded = 4
	// unknownRetry is the time between looks at a directory that cannot be read.
	unknownRetry = 500 * time.Millisecond
	// firstWait is how long the first snapshot waits for files that are being written: it may lead to removals.
	firstWait = 2 * time.Second
)

// claim is one wanted document and the file that owns its id.
type claim struct {
	wanted
	file string // name in the directory
	// beside lists the problems that the file had when the document was read: a new one may be this document, broken;
	// one of these is not.
	beside []string
}

// state is what merge remembers. It is never written through: merge returns a new one.
type state struct {
	claims map[id]claim
	// missing is when the document of a key was first not found.
	missing map[id]time.Time
	// hold is until when a key stays wanted although its document is gone together with many others.
	hold map[id]time.Time
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

// offer is one document that defines a pod, a ConfigMap or a Secret.
type offer struct {
	wanted
	file *file
}

// merger is one run of merge.
type merger struct {
	rules
	prev, next state
	l          listing
	now        time.Time
	byName     map[string]*file
	offers     map[id][]offer
	chosen     map[id]offer
	kept       map[id]bool
	wake       time.Time
}

// merge decides what is wanted after a look at the directory. It is pure. The snapshot is nil while the set is not known
// for the first time; wake is when to look again even if nothing happens, zero for never.
func merge(prev state, l listing, now time.Time, r rules) (state, *manifests.Snapshot, time.Time) {
	m := merger{rules: r, prev: prev, l: l, now: now}
	m.next = state{
		claims: maps.Clone(prev.claims), missing: map[id]time.Time{}, hold: map[id]time.Time{},
		place: prev.place, begun: prev.begun, sent: prev.sent,
	}
	if m.next.claims == nil {
		m.next.claims = map[id]claim{}
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
	pods := countPods(m.next.claims)
	if !m.next.sent && pods == 0 {
		return m.next, nil, wake
	}
	m.next.sent = true
	return m.next, m.snapshot([]manifests.Problem{unknownProblem(m.dir, m.l.unknown, pods)}), wake
}

// index finds every document of every file.
func (m *merger) index() {
	m.byName, m.offers = map[string]*file{}, map[id][]offer{}
	m.chosen, m.kept = map[id]offer{}, map[id]bool{}
	for i := range m.l.files {
		f := &m.l.files[i]
		m.byName[f.name] = f
		for _, p := range f.Pods {
			m.offers[podID(p.Key())] = append(m.offers[podID(p.Key())], offer{wanted{pod: p}, f})
		}
		for _, c := range f.Configs {
			k := configID(c.ConfigKey)
			m.offers[k] = append(m.offers[k], offer{wanted{config: c}, f})
		}
	}
}

// settle updates the claims whose documents are here or may be, and returns the keys of the others.
func (m *merger) settle() []id {
	var gone []id
	for _, k := range sortedKeys(m.next.claims) {
		c := m.next.claims[k]
		f := m.byName[c.file]
		own := func(o offer) bool { return o.file == f }
		same := func(o offer) bool { return o.version() == c.version() }
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
func (m *merger) take(k id, fits func(offer) bool) bool {
	i := slices.IndexFunc(m.offers[k], fits)
	if i < 0 {
		return false
	}
	o := m.offers[k][i]
	m.chosen[k] = o
	w := o.wanted
	// The pointer is kept while nothing of the document changed, so that a comment edited elsewhere is no new snapshot.
	if old, ok := m.next.claims[k]; ok && old.same(w) {
		w = old.wanted
	}
	m.next.claims[k] = claim{wanted: w, file: o.file.name, beside: labels(o.file)}
	return true
}

// mayHold says whether a file that does not offer the key may still be meant to define it.
func (m *merger) mayHold(f *file, k id) bool {
	if f.fault != nil || !f.held.IsZero() || f.empty {
		return true
	}
	return slices.ContainsFunc(f.Problems, func(p manifests.Problem) bool { return m.about(p, k) })
}

// about says whether a problem of the file that owns k may be about k: it names k, or it is new since k was good and
// names no other pod that is known. A name that was broken by the edit names nothing known.
func (m *merger) about(p manifests.Problem, k id) bool {
	about := problemID(p)
	if about == k {
		return true
	}
	_, other := m.prev.claims[about]
	return !other && !slices.Contains(m.next.claims[k].beside, label(p))
}

// labels lists the problems of a file, sorted.
func labels(f *file) []string {
	var ls []string
	for _, p := range f.Problems {
		ls = append(ls, label(p))
	}
	slices.Sort(ls)
	return slices.Compact(ls)
}

// label tells problems apart without their line, which moves with edits elsewhere in the file.
func label(p manifests.Problem) string {
	about := p.Pod.String()
	if p.Config != (manifests.ConfigKey{}) {
		about = p.Config.String()
	}
	return about + " " + p.Field + " " + p.Message
}

// remove decides about keys whose documents are gone: not yet, taken over by another document, on hold, or removed.
func (m *merger) remove(gone []id) {
	var fresh, lost []id
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
	total, lostPods := countPods(m.next.claims), 0
	for k := range m.next.hold {
		if k.isPod() {
			total--
		}
	}
	for _, k := range fresh {
		delete(m.next.missing, k)
		if m.take(k, func(offer) bool { return true }) {
			continue
		}
		lost = append(lost, k)
		if k.isPod() {
			lostPods++
		}
	}
	replaced := !m.prev.place.zero() && m.prev.place != m.l.place && len(m.l.files) == 0
	mass := replaced || total >= guarded && 2*lostPods > total
	for _, k := range lost {
		switch {
		case mass:
			m.holdUntil(k, m.now.Add(m.grace))
		case !k.isPod() && len(m.next.hold) > 0:
			// Pods that are on hold would not start again without what they name.
			m.holdUntil(k, m.longestHold())
		default:
			delete(m.next.claims, k)
		}
	}
}

// longestHold is the last time until which a document is on hold.
func (m *merger) longestHold() (until time.Time) {
	for _, t := range m.next.hold {
		if t.After(until) {
			until = t
		}
	}
	return until
}

// holdUntil keeps a key wanted until then. The look that finds it still gone after that time is the second scan.
func (m *merger) holdUntil(k id, until time.Time) {
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
	pods, configs := bind(m.next.claims)
	return &manifests.Snapshot{Source: m.source, Pods: pods, Problems: problems, Configs: configs}
}

func sortedKeys[V any](in map[id]V) []id { return slices.SortedFunc(maps.Keys(in), id.compare) }
