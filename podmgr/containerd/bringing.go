package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/types"
)

// bringing knows the sandboxes that are being brought up, so that containers can be made meanwhile.
type bringing struct {
	mu sync.Mutex
	m  map[types.UID]*bringUp
}

// bringUp is one EnsureSandbox: join is closed when processes of containers can be made (namespaces, files and shim are
// there), done when they can be started, or when it failed.
type bringUp struct {
	join, done chan struct{}
	once       sync.Once
}

func (b *bringUp) joinable() { b.once.Do(func() { close(b.join) }) }

func (b *bringing) begin(uid types.UID) (*bringUp, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m[uid] != nil {
		return nil, errors.New("the pod's sandbox is being brought up already")
	}
	if b.m == nil {
		b.m = map[types.UID]*bringUp{}
	}
	up := &bringUp{join: make(chan struct{}), done: make(chan struct{})}
	b.m[uid] = up
	return up, nil
}

func (b *bringing) end(uid types.UID, up *bringUp) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.m, uid)
	up.joinable()
	close(up.done)
}

// await waits for the sandbox of a pod when it is being brought up: until containers can join it, or until it is done.
func (b *bringing) await(ctx context.Context, uid types.UID, whole bool) error {
	b.mu.Lock()
	up := b.m[uid]
	b.mu.Unlock()
	if up == nil {
		return nil
	}
	c := up.join
	if whole {
		c = up.done
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// joinable waits until processes of the pod's containers can be made, or until it is clear that they cannot.
func (r *Runtime) joinable(ctx context.Context, p *manifests.Pod) error {
	if err := r.bringing.await(ctx, p.UID(), false); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(r.podState(p.UID()), "hosts")); err != nil || !namespacesWanted(p.Object).pinned(r.podState(p.UID())) {
		return noSandbox()
	}
	return nil
}

func noSandbox() error {
	return &podmgr.ReasonError{Reason: podmgr.ReasonNoSandbox, Err: errors.New("the pod's sandbox is not ready")}
}

// usable waits for the sandbox of a pod and says whether containers can be started in it.
func (r *Runtime) usable(ctx context.Context, p *manifests.Pod) error {
	if err := r.bringing.await(ctx, p.UID(), true); err != nil {
		return err
	}
	c, err := r.client.ContainerService().Get(ctx, sandboxID(p.UID()))
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("reading the sandbox: %w", err)
	}
	if err == nil {
		s, err := r.lookSandbox(ctx, c)
		if err != nil {
			return err
		}
		if s.State == podmgr.SandboxReady {
			return nil
		}
	}
	return noSandbox()
}
