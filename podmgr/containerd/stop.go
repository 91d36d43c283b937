package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// Stop implements podmgr.Runtime: the stop signal, at most grace of waiting, SIGKILL to everything in the container.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	ctx = r.ns(ctx)
	st, err := r.task(ctx, id)
	if err != nil {
		return err
	}
	if !st.exists() || !st.running() && !st.exited.IsZero() {
		return nil
	}
	if grace > 0 && st.running() {
		if err := r.signal(ctx, id, r.stopSignal(ctx, id), false); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, grace)
		err := r.waitTask(wait, id)
		cancel()
		if err == nil {
			return nil
		}
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
	if err := r.signal(ctx, id, unix.SIGKILL, true); err != nil {
		return err
	}
	return r.waitTask(ctx, id)
}

// stopSignal is the one of the manifest, else of the image; an image may name nonsense, which means SIGTERM.
func (r *Runtime) stopSignal(ctx context.Context, id string) unix.Signal {
	c, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return unix.SIGTERM
	}
	if rec, ok := recordOf(c); ok {
		if s, ok := parseStopSignal(rec.StopSignal); ok {
			return s
		}
	}
	return unix.SIGTERM
}

// Seal implements podmgr.Runtime.
func (r *Runtime) Seal(ctx context.Context, id string) error {
	ctx = r.ns(ctx)
	c, err := r.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading container %s: %w", id, err)
	}
	rec, ok := recordOf(c)
	if !ok || rec.Sealed {
		return nil
	}
	r.logs.drained(ctx, id)
	seen, err := r.look(ctx, c)
	if err != nil {
		return err
	}
	if !seen.State.Ended() {
		return fmt.Errorf("sealing container %s: %w", id, errNotEnded)
	}
	rec.Sealed = true
	rec.Started, rec.Finished = seen.Started, seen.Finished
	if rec.Finished.IsZero() {
		rec.Finished = time.Now()
	}
	rec.ExitCode, rec.Signal, rec.Reason = seen.ExitCode, seen.Signal, seen.Reason
	rec.Message = seen.Message
	if err := r.updateRecord(ctx, id, rec); err != nil {
		return err
	}
	r.releaseTask(ctx, id)
	return nil
}

// releaseTask deletes the task of a sealed container behind its caller's back: it takes two processes, and the next
// attempt does not have to wait for them. What is not done when the agent dies, Remove does.
func (r *Runtime) releaseTask(ctx context.Context, id string) {
	done := make(chan struct{})
	if _, going := r.releasing.LoadOrStore(id, done); going {
		return
	}
	r.background.Go(func() {
		defer close(done)
		defer r.releasing.Delete(id)
		ctx, cancel := cleanup(ctx)
		defer cancel()
		if err := r.deleteTask(ctx, id); err != nil {
			r.log.Debug().Err(err).Str("id", id).Msg("releasing the task of an ended container")
		}
	})
}

func (r *Runtime) updateRecord(ctx context.Context, id string, rec record) error {
	a, err := rec.any()
	if err != nil {
		return err
	}
	c := containers.Container{ID: id, Extensions: map[string]typeurl.Any{extension: a}}
	if _, err := r.client.ContainerService().Update(ctx, c, "extensions."+extension); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("writing container record: %w", err)
	}
	return nil
}

// Remove implements podmgr.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	ctx = r.ns(ctx)
	if done, going := r.releasing.Load(id); going {
		select {
		case <-done.(chan struct{}):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c, err := r.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) {
		r.index.removeContainer(id)
		return removeTree(r.containerState(id))
	}
	if err != nil {
		return fmt.Errorf("reading container %s: %w", id, err)
	}
	st, err := r.task(ctx, id)
	if err != nil {
		return err
	}
	if st.running() {
		return fmt.Errorf("removing container %s: %w", id, errNotEnded)
	}
	if err := r.killTask(ctx, id); err != nil {
		return err
	}
	r.logs.drained(ctx, id)
	if _, uid, _, _, ok := owner(c); ok {
		if err := removeTree(r.declaredDir(uid, id)); err != nil {
			return err
		}
	}
	if rec, ok := recordOf(c); ok && rec.LogPath != "" {
		if err := r.logs.hub.Remove(rec.LogPath); err != nil { // Forget tries again: a broken log disk must not hold up an update
			r.log.Warn().Err(err).Str("id", id).Msg("removing the log of a container")
		}
	}
	return r.dropContainer(ctx, c)
}

// removeLogs removes a pod's logs.
func (r *Runtime) removeLogs(k manifests.Key, uid types.UID) error {
	if err := os.RemoveAll(logs.PodDir(r.cfg.PodLogs, k.Namespace, k.Name, uid)); err != nil {
		return fmt.Errorf("removing logs: %w", err)
	}
	return nil
}
