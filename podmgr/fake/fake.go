// Package fake is a Runtime in memory for tests: it keeps the laws of podmgr.Runtime, checks that its caller keeps his,
// and can be told to fail, to hang, to crash in the middle, and to be rebooted.
//
//	rt := fake.New()
//	rt.Step = func(ctx context.Context, c fake.Call, at fake.Stage) error { … }   // script failures and delays
//	rt.Exit(key, "web", 1)                                                        // the world acts
//	rt.Violations()                                                               // what the caller did wrong
package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"k8s.io/apimachinery/pkg/types"
)

// Runtime is the fake. Set the exported fields before its first use.
type Runtime struct {
	// Step, when set, is asked at each stage of each call; the error it returns ends the call there. It may block on
	// ctx, sleep or panic.
	Step func(ctx context.Context, c Call, at Stage) error
	// Program, when set, says what a container does in place of what its command says (see ProgramOf).
	Program func(p *manifests.Pod, container string, attempt int) Program
	// Command, when set, says what a command in a container does; else it does what ProgramOf says.
	Command func(ctx context.Context, c Call, args []string) (code int, output string, err error)
	// NoHints makes the runtime lose every hint.
	NoHints bool
	// Used is how much memory every container uses, in bytes.
	Used int64
	// Remote lists the references that a registry has, with their digests; nil: it has all.
	Remote map[string]string

	mu         sync.Mutex // guards all below
	pods       map[manifests.Key]*pod
	images     map[string]string // reference → digest
	calls      []Call
	busy       map[string]bool // lanes with a call going on
	violations []string
	hints      map[chan manifests.Key]bool
	lastIP     int
	lives      int // of sandboxes, so far
	execs      int // so far
}

// pod is what exists of one key.
type pod struct {
	sandboxes  []*podmgr.Sandbox
	containers []*container
	remains    map[types.UID]bool
	stored     map[types.UID]podmgr.Recalled
	notes      []podmgr.Note
	evicted    []podmgr.Eviction
	shown      map[types.UID]*manifests.Pod // what the volumes show
	coming     chan struct{}                // closed when the EnsureSandbox that goes on ends; nil: none does
}

// container is one instance with its running program.
type container struct {
	podmgr.Container
	program Program
	words   string        // its termination message when it fails
	timer   *time.Timer   // of its own exit
	ended   chan struct{} // closed when it ends; nil before it runs
}

var _ podmgr.Runtime = (*Runtime)(nil)

// Call is one call of a method of the Runtime.
type Call struct {
	Verb      string // the method's name
	Key       manifests.Key
	UID       types.UID
	Target    string // a reference, a container's name or ID, a sandbox ID
	Container string // the container's name, where the call is about one
	Attempt   int
	Grace     time.Duration // Stop
	Mark      podmgr.Mark   // Mark
	At        time.Time
}

// String is the call without its time: "Start default/web web#0".
func (c Call) String() string {
	s := c.Verb + " " + c.Key.String()
	switch {
	case c.Container != "" && c.Verb != "Pull":
		s += fmt.Sprintf(" %s#%d", c.Container, c.Attempt)
	case c.Target != "":
		s += " " + c.Target
	}
	return s
}

// Stage is how far a call has come.
type Stage int

const (
	// Before nothing has been done yet.
	Before Stage = iota
	// Midway a part is done: the directories are made, the container is created, TERM is sent, the container is gone.
	Midway
	// After all is done; the caller need not learn of it.
	After
)

// New returns a runtime on which nothing exists.
func New() *Runtime {
	return &Runtime{
		pods:   map[manifests.Key]*pod{},
		images: map[string]string{},
		busy:   map[string]bool{},
		hints:  map[chan manifests.Key]bool{},
	}
}

// step logs the call, takes its lane and asks the script for the first stage. The returned func gives the lane back.
func (r *Runtime) step(ctx context.Context, c Call, lane string) (done func(), err error) {
	c.At = time.Now()
	lane = c.Key.String() + " " + lane
	r.mu.Lock()
	r.calls = append(r.calls, c)
	if r.busy[lane] {
		r.violate("%s while another call on the same target is going on", c)
	}
	r.busy[lane] = true
	r.mu.Unlock()
	done = func() {
		r.mu.Lock()
		delete(r.busy, lane)
		r.mu.Unlock()
	}
	defer func() {
		if p := recover(); p != nil {
			done()
			panic(p)
		}
	}()
	if err := r.at(ctx, c, Before); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

func (r *Runtime) at(ctx context.Context, c Call, s Stage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.Step == nil {
		return nil
	}
	return r.Step(ctx, c, s)
}

// violate notes a broken law. The caller holds mu.
func (r *Runtime) violate(format string, args ...any) {
	r.violations = append(r.violations, fmt.Sprintf(format, args...))
}

// Violations returns what the callers did against the laws of podmgr.Runtime.
func (r *Runtime) Violations() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.violations)
}

// Calls returns every call so far but Keys and Observe, in order of their beginning.
func (r *Runtime) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// changed sends a hint. The caller holds mu.
func (r *Runtime) changed(k manifests.Key) {
	if r.NoHints {
		return
	}
	for ch := range r.hints {
		select {
		case ch <- k:
		default:
		}
	}
}

// Events implements podmgr.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan manifests.Key {
	ch := make(chan manifests.Key, 1024)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hints[ch] = true
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.hints, ch)
		close(ch)
	})
	return ch
}

// Keys implements podmgr.Runtime.
func (r *Runtime) Keys(ctx context.Context) ([]manifests.Key, error) {
	if err := r.at(ctx, Call{Verb: "Keys"}, Before); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []manifests.Key
	for k, p := range r.pods {
		if len(p.sandboxes)+len(p.containers)+len(p.remains) > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b manifests.Key) int { return strings.Compare(a.String(), b.String()) })
	return keys, nil
}

// Observe implements podmgr.Runtime.
func (r *Runtime) Observe(ctx context.Context, k manifests.Key) (podmgr.Observed, error) {
	if err := r.at(ctx, Call{Verb: "Observe", Key: k}, Before); err != nil {
		return podmgr.Observed{}, err
	}
	return r.Now(k), nil
}

// Now is what exists of a pod, whatever the script says about Observe.
func (r *Runtime) Now(k manifests.Key) podmgr.Observed {
	r.mu.Lock()
	defer r.mu.Unlock()
	var o podmgr.Observed
	p := r.pods[k]
	if p == nil {
		return o
	}
	o.Notes, o.Evictions = slices.Clone(p.notes), slices.Clone(p.evicted)
	for _, s := range p.sandboxes {
		c := *s
		c.IPs = slices.Clone(s.IPs)
		o.Sandboxes = append(o.Sandboxes, c)
	}
	for _, c := range p.containers {
		o.Containers = append(o.Containers, c.Container)
	}
	slices.SortFunc(o.Containers, func(a, b podmgr.Container) int {
		if c := strings.Compare(string(a.UID)+" "+a.Name, string(b.UID)+" "+b.Name); c != 0 {
			return c
		}
		return a.Attempt - b.Attempt
	})
	for uid := range p.remains {
		o.Remains = append(o.Remains, uid)
	}
	slices.Sort(o.Remains)
	return o
}

// pod returns what exists of a key. The caller holds mu.
func (r *Runtime) pod(k manifests.Key) *pod {
	p := r.pods[k]
	if p == nil {
		p = &pod{
			remains: map[types.UID]bool{}, stored: map[types.UID]podmgr.Recalled{}, shown: map[types.UID]*manifests.Pod{},
		}
		r.pods[k] = p
	}
	return p
}

// find returns the container with an ID and its pod's key. The caller holds mu.
func (r *Runtime) find(id string) (manifests.Key, *container) {
	for k, p := range r.pods {
		for _, c := range p.containers {
			if c.ID == id {
				return k, c
			}
		}
	}
	return manifests.Key{}, nil
}

// others says whether anything of another UID exists. The caller holds mu.
func (p *pod) others(uid types.UID) bool {
	for _, s := range p.sandboxes {
		if s.UID != uid {
			return true
		}
	}
	for _, c := range p.containers {
		if c.UID != uid {
			return true
		}
	}
	for other := range p.remains {
		if other != uid {
			return true
		}
	}
	return false
}

func (p *pod) sandbox(uid types.UID) *podmgr.Sandbox {
	for _, s := range p.sandboxes {
		if s.UID == uid {
			return s
		}
	}
	return nil
}
