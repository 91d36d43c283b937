package logs

import (
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"
)

// Hub is where writers and readers of the log files under one root meet, and what they share. The engine adapter owns
// one; it needs no closing.
type Hub struct {
	root string

	mu     sync.Mutex // guards topics and the counts in them
	topics map[string]*topic

	// in and out hold the buffers of streams that have data; idle streams hold none. Readers have theirs in read.
	in, out, read sync.Pool
	// wide holds what readers that have much to read work with, wides counts those of them that are taken.
	wide  sync.Pool
	wides chan struct{}
	// compressing lets one file be compressed at a time on the whole node: memory and the applications' CPU count more.
	compressing chan struct{}
}

// Sizes of the pooled buffers: one read, and one write.
const (
	inSize  = 64 << 10
	outSize = 128 << 10
	// readSize holds the longest line; a thousand readers that are slow hold one each.
	readSize = 20 << 10
	// wideSize is what is read, and what is handed on, at once while there is room for a reader to be wide.
	wideSize = 64 << 10
	// maxWide bounds the memory of readers that are slow: those beyond it read in small steps.
	maxWide = 16
)

// wide are the buffers of a reader that has much to read.
type wide struct {
	in  [wideSize]byte
	out [wideSize + readSize]byte
}

// NewHub returns the hub of the logs under root.
func NewHub(root string) *Hub {
	return &Hub{
		root:        root,
		topics:      map[string]*topic{},
		in:          sync.Pool{New: func() any { return new([inSize]byte) }},
		out:         sync.Pool{New: func() any { return new([outSize]byte) }},
		read:        sync.Pool{New: func() any { return new([readSize]byte) }},
		wide:        sync.Pool{New: func() any { return new(wide) }},
		wides:       make(chan struct{}, maxWide),
		compressing: make(chan struct{}, 1),
	}
}

// File is the log of one instance of a container under the hub's root, whether it exists or not.
func (h *Hub) File(namespace, name string, uid types.UID, container string, attempt int) string {
	return File(h.root, namespace, name, uid, container, attempt)
}

// topic is what is known in memory of one log file while it has a writer or a follower.
type topic struct {
	refs    int // guarded by Hub.mu
	writers int // guarded by Hub.mu

	// rotation is held by the writer while it swaps files (a rename and a create), and by a reader while it lists and
	// opens them, so that a reader sees each file once. It is the one lock here that is held over (metadata) I/O: the
	// order of that I/O is what it guards.
	rotation sync.Mutex
	gen      uint64   // guarded by rotation: how often the file was rotated
	names    []string // guarded by rotation: the last rotated names, the newest being number gen-1

	watched   atomic.Int32 // len(followers), so that a writer without followers takes no lock
	mu        sync.Mutex   // guards followers
	followers map[chan struct{}]struct{}
}

// keepNames bounds topic.names: a follower further behind than this has lost the files anyway.
const keepNames = 64

// topic returns the topic of path and counts the caller in; release undoes it.
func (h *Hub) topic(path string, writer bool) *topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[path]
	if t == nil {
		t = &topic{followers: map[chan struct{}]struct{}{}}
		h.topics[path] = t
	}
	t.refs++
	if writer {
		t.writers++
	}
	return t
}

func (h *Hub) release(path string, t *topic, writer bool) {
	h.mu.Lock()
	t.refs--
	if writer {
		t.writers--
	}
	if t.refs == 0 {
		delete(h.topics, path)
	}
	h.mu.Unlock()
	t.notify()
}

// written says whether a writer has the file open.
func (h *Hub) written(t *topic) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return t.writers > 0
}

// follow returns a channel that receives after each write; stop ends it.
func (t *topic) follow() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	t.mu.Lock()
	t.followers[c] = struct{}{}
	t.watched.Store(int32(len(t.followers)))
	t.mu.Unlock()
	return c, func() {
		t.mu.Lock()
		delete(t.followers, c)
		t.watched.Store(int32(len(t.followers)))
		t.mu.Unlock()
	}
}

// notify wakes the followers; it never blocks.
func (t *topic) notify() {
	if t.watched.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.followers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// rotated records the new name of the file that was current. The caller holds t.rotation.
func (t *topic) rotated(name string) {
	t.gen++
	t.names = append(t.names, name)
	if len(t.names) > keepNames {
		t.names = append(t.names[:0], t.names[1:]...)
	}
}

// name returns the name that generation gen of the file got when it was rotated; false when it is the current one or
// forgotten. The caller holds t.rotation.
func (t *topic) name(gen uint64) (string, bool) {
	i := len(t.names) - int(t.gen-gen)
	if gen >= t.gen || i < 0 {
		return "", false
	}
	return t.names[i], true
}
