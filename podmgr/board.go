package podmgr

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// Entry is what the board shows of one pod. It is immutable once posted.
type Entry struct {
	// Pod is the wanted pod, or, for a pod that is being removed, the last one wanted (nil when the agent never knew it).
	Pod *manifests.Pod
	// Key is the pod's key, always set.
	Key manifests.Key
	// Status is the pod's status as the kubelet would report it.
	Status v1.PodStatus
	// Deleted is when the pod stopped being wanted; zero while it is.
	Deleted time.Time
	// Source is the name of the source that wants it.
	Source string
	// Gone says of a pod that the API server deletes (Object.DeletionTimestamp) that nothing of it is left on the node:
	// Status is its last one. The entry stays until the source drops the pod.
	Gone bool
}

// Event is one thing that happened to a pod or the node, counted when it repeats (fields as in v1.Event).
type Event struct {
	Pod       manifests.Key
	Container string // empty: the pod
	Type      string // Normal or Warning
	Reason    string
	Message   string
	Count     int
	First     time.Time
	Last      time.Time
}

// Board holds what everyone may read of the pods. What it returns is immutable; reading takes no lock that a writer
// waits for longer than it takes to copy a slice of pointers.
type Board struct {
	mu     sync.Mutex // held by writers of view
	view   atomic.Pointer[view]
	events eventRing
}

// view is one immutable state of the board.
type view struct {
	entries  []*Entry // sorted by key
	problems []manifests.Problem
	configs  []*manifests.Config
	changed  chan struct{} // closed when the next view is there
}

// NewBoard returns an empty board. The Manager makes its own; this is for tests of those who read one.
func NewBoard() *Board {
	b := &Board{}
	b.view.Store(&view{changed: make(chan struct{})})
	return b
}

// List returns every entry, sorted by namespace and name.
func (b *Board) List() []*Entry { return slices.Clone(b.view.Load().entries) }

// Get returns the entry of one pod.
func (b *Board) Get(k manifests.Key) (*Entry, bool) {
	entries := b.view.Load().entries
	i, found := slices.BinarySearchFunc(entries, k, compareEntry)
	if !found {
		return nil, false
	}
	return entries[i], true
}

// Problems returns what the sources complain about, and the clashes between them.
func (b *Board) Problems() []manifests.Problem { return slices.Clone(b.view.Load().problems) }

// Events returns the events of one pod, oldest first; of everything with the zero key.
func (b *Board) Events(k manifests.Key) []Event { return b.events.list(k) }

// Changed returns a channel that is closed at the next change of entries, problems, configs or events. Take it before reading.
func (b *Board) Changed() <-chan struct{} { return b.view.Load().changed }

// Record notes an event, or counts it when it is already there. Zero times mean now, a zero count one.
func (b *Board) Record(e Event) {
	b.events.add(e)
	b.update(func(*view) {})
}

// Post shows an entry in place of the one with its key. The entry must not be written to afterwards.
func (b *Board) Post(e *Entry) {
	b.update(func(v *view) {
		i, found := slices.BinarySearchFunc(v.entries, e.Key, compareEntry)
		if found {
			v.entries = slices.Clone(v.entries)
			v.entries[i] = e
			return
		}
		v.entries = slices.Insert(slices.Clone(v.entries), i, e)
	})
}

// Drop takes the entry of a pod that is gone off the board. Its events stay.
func (b *Board) Drop(k manifests.Key) {
	if _, found := b.Get(k); !found {
		return
	}
	b.update(func(v *view) {
		v.entries = slices.DeleteFunc(slices.Clone(v.entries), func(e *Entry) bool { return e.Key == k })
	})
}

// SetProblems replaces the problems.
func (b *Board) SetProblems(ps []manifests.Problem) {
	if slices.Equal(ps, b.view.Load().problems) {
		return
	}
	b.update(func(v *view) { v.problems = slices.Clone(ps) })
}

// Configs returns the ConfigMaps and Secrets of the sources, sorted by kind, namespace and name.
func (b *Board) Configs() []*manifests.Config { return slices.Clone(b.view.Load().configs) }

// SetConfigs replaces them.
func (b *Board) SetConfigs(list []*manifests.Config) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(x, y *manifests.Config) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Name, y.Name))
	})
	if slices.Equal(list, b.view.Load().configs) {
		return
	}
	b.update(func(v *view) { v.configs = list })
}

// update makes the next view from a copy of the current one.
func (b *Board) update(change func(*view)) {
	b.mu.Lock()
	old := b.view.Load()
	next := &view{entries: old.entries, problems: old.problems, configs: old.configs, changed: make(chan struct{})}
	change(next)
	b.view.Store(next)
	b.mu.Unlock()
	close(old.changed)
}

func compareEntry(e *Entry, k manifests.Key) int { return compareKeys(e.Key, k) }

func compareKeys(a, b manifests.Key) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
