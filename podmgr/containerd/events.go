package containerd

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
)

// exits remembers what events said of exits that can no longer be asked for: an OOM kill, and the exit of a container
// whose shim died with it. It is a cache; without it an exit is reported as unknown.
type exits struct {
	mu   sync.Mutex
	seen map[string]exit
	ooms map[string]struct{}
}

type exit struct {
	code uint32
	at   time.Time
}

// exitFile is what the embedded engine's shim writes into a container's bundle when its process has ended.
const exitFile = "exit.json"

// readBundles reads the exits that shims wrote down while no engine ran: a starting containerd forgets the tasks that
// have ended.
func (x *exits) readBundles(state string) {
	files, _ := filepath.Glob(filepath.Join(state, "containerd", "io.containerd.runtime.v2.task", namespace, "*", exitFile))
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var e struct {
			Timestamp time.Time
			Status    int
		}
		if json.Unmarshal(b, &e) == nil && !e.Timestamp.IsZero() && e.Status >= 0 {
			id := filepath.Base(filepath.Dir(f))
			x.seen[id] = exit{code: uint32(e.Status), at: e.Timestamp} //nolint:gosec // a byte
			if bundleOOM(filepath.Dir(f)) {
				x.ooms[id] = struct{}{}
			}
		}
	}
}

func newExits() *exits { return &exits{seen: map[string]exit{}, ooms: map[string]struct{}{}} }

func (x *exits) get(id string) (exit, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.seen[id]
	return e, ok
}

func (x *exits) oom(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.ooms[id]
	return ok
}

func (x *exits) forget(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.seen, id)
	delete(x.ooms, id)
}

// Events implements podmgr.Runtime. A stream that breaks (an external containerd restarts) is opened again and followed
// by "look at all", because what happened meanwhile was not heard.
func (r *Runtime) Events(ctx context.Context) <-chan manifests.Key {
	out := make(chan manifests.Key, 64)
	r.background.Go(func() {
		defer close(out)
		wait := 50 * time.Millisecond
		for ctx.Err() == nil {
			begun := time.Now()
			r.follow(ctx, out)
			if time.Since(begun) > time.Minute {
				wait = 50 * time.Millisecond
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, 2*time.Second)
			send(ctx, out, manifests.Key{})
		}
	})
	return out
}

func (r *Runtime) follow(ctx context.Context, out chan<- manifests.Key) {
	ctx, cancel := context.WithCancel(r.ns(ctx))
	defer cancel()
	stream, errs := r.client.EventService().Subscribe(ctx,
		`namespace==`+namespace+`,topic~="^/tasks/(exit|oom|delete)"`, `namespace==`+namespace+`,topic~="^/containers/delete"`)
	for {
		select {
		case e := <-stream:
			if e == nil {
				return
			}
			if k, ok := r.understand(e); ok {
				send(ctx, out, k)
			}
		case k := <-r.nudges:
			send(ctx, out, k)
		case err := <-errs:
			if ctx.Err() == nil && err != nil {
				r.log.Warn().Err(err).Msg("containerd's events have stopped, asking again")
			}
			return
		}
	}
}

// nudge has the pod looked at again. A nudge that finds no room is lost: nobody listens.
func (r *Runtime) nudge(k manifests.Key) {
	select {
	case r.nudges <- k:
	default:
	}
}

func send(ctx context.Context, out chan<- manifests.Key, k manifests.Key) {
	select {
	case out <- k:
	case <-ctx.Done():
	}
}

// understand notes what only events say and returns the pod the event is about.
func (r *Runtime) understand(e *events.Envelope) (manifests.Key, bool) {
	v, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return manifests.Key{}, false
	}
	var id string
	switch v := v.(type) {
	case *apievents.TaskExit:
		if v.ID != v.ContainerID {
			return manifests.Key{}, false // an exec
		}
		id = v.ContainerID
		if k, ok := r.index.keyOf(id); ok {
			r.exits.mu.Lock()
			r.exits.seen[id] = exit{code: v.ExitStatus, at: v.ExitedAt.AsTime()}
			r.exits.mu.Unlock()
			return k, true
		}
	case *apievents.TaskOOM:
		id = v.ContainerID
		if k, ok := r.index.keyOf(id); ok {
			r.exits.mu.Lock()
			r.exits.ooms[id] = struct{}{}
			r.exits.mu.Unlock()
			return k, true
		}
	case *apievents.TaskDelete:
		id = v.ContainerID
	case *apievents.ContainerDelete:
		id = v.ID
	}
	return r.index.keyOf(id)
}
