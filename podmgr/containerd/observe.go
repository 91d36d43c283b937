package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
)

// Exit codes when nobody saw the exit.
const (
	exitUnknown = 255 // a reboot
	exitKilled  = 137 // the shim died and took the container with it
)

// Observe implements podmgr.Runtime.
func (r *Runtime) Observe(ctx context.Context, k manifests.Key) (podmgr.Observed, error) {
	ctx = r.ns(ctx)
	var o podmgr.Observed
	ids, uids := r.index.get(k)
	for _, id := range ids {
		c, err := r.client.ContainerService().Get(ctx, id)
		if errdefs.IsNotFound(err) {
			if _, making := r.making.Load(id); !making && !r.pauses.starting(id) {
				r.lost(ctx, id)
			}
			continue
		}
		if err != nil {
			return o, fmt.Errorf("observing pod %s: %w", k, err)
		}
		if c.Labels[labelKind] == kindSandbox {
			s, err := r.lookSandbox(ctx, c)
			if err != nil {
				return o, err
			}
			o.Sandboxes = append(o.Sandboxes, s)
			continue
		}
		seen, err := r.look(ctx, c)
		if err != nil {
			return o, err
		}
		o.Containers = append(o.Containers, seen)
	}
	o.Remains = uids
	slices.Sort(o.Remains)
	o.Notes, o.Evictions = r.notes.of(uids), r.evictions(uids)
	slices.SortFunc(o.Sandboxes, func(a, b podmgr.Sandbox) int { return strings.Compare(string(a.UID), string(b.UID)) })
	slices.SortFunc(o.Containers, func(a, b podmgr.Container) int {
		if c := strings.Compare(string(a.UID), string(b.UID)); c != 0 {
			return c
		}
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.Attempt - b.Attempt
	})
	return o, nil
}

// lost cleans up after a container whose record somebody removed behind our back: its task, state and snapshot go too.
func (r *Runtime) lost(ctx context.Context, id string) {
	if err := r.killTask(ctx, id); err != nil {
		r.log.Debug().Err(err).Str("id", id).Msg("ending the task of a removed container")
	}
	if err := r.client.SnapshotService(r.snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		r.log.Warn().Err(err).Str("id", id).Msg("removing the root filesystem of a removed container")
		return
	}
	if err := removeTree(r.containerState(id)); err != nil {
		r.log.Warn().Err(err).Str("id", id).Msg("removing the state of a removed container")
		return
	}
	r.index.removeContainer(id)
	r.exits.forget(id)
	r.given.Delete(id)
}

func (r *Runtime) lookSandbox(ctx context.Context, c containers.Container) (podmgr.Sandbox, error) {
	_, uid, _, _, _ := owner(c)
	rec, _ := recordOf(c)
	state, ips, err := r.sandboxState(ctx, uid, rec)
	if err != nil {
		return podmgr.Sandbox{}, err
	}
	return podmgr.Sandbox{ID: c.ID, UID: uid, State: state, IPs: ips, Created: rec.Created, Life: rec.Life, Resources: r.givenTo(c.ID, r.podState(uid), nil)}, nil
}

// look observes one container; the table in doc.go says how its state comes about.
func (r *Runtime) look(ctx context.Context, c containers.Container) (podmgr.Container, error) {
	_, uid, name, attempt, _ := owner(c)
	rec, _ := recordOf(c)
	o := podmgr.Container{
		ID: c.ID, UID: uid, Name: name, Attempt: attempt, Sealed: rec.Sealed,
		Image: rec.Image, ImageID: rec.ImageID, LogPath: rec.LogPath,
		Life: rec.Life, Created: c.CreatedAt, Backoff: rec.Backoff, Grace: rec.Grace, Mark: r.markOf(c.ID), User: rec.User,
		Resources: r.givenTo(c.ID, r.containerState(c.ID), rec.Resources),
	}
	if rec.Sealed {
		o.State, o.Started, o.Finished = podmgr.Exited, rec.Started, rec.Finished
		o.ExitCode, o.Signal, o.Reason, o.Message = rec.ExitCode, rec.Signal, rec.Reason, rec.Message
		return o, nil
	}
	o.Started = r.startedAt(c.ID)
	st, err := r.task(ctx, c.ID)
	if err != nil {
		return o, err
	}
	switch st.status {
	case task.Status_CREATED:
		o.State, o.Started = podmgr.Created, time.Time{}
	case task.Status_RUNNING, task.Status_PAUSED, task.Status_PAUSING:
		o.State = podmgr.Running
	case task.Status_STOPPED:
		e, known := r.exits.get(c.ID)
		if e, known = st.exit(e, known); !known {
			o.State = podmgr.Running
			break
		}
		o.State = podmgr.Exited
		setExit(&o, e.code, e.at, r.oomKilled(uid, c.ID, e))
	default:
		r.vanished(&o, rec)
	}
	if o.State.Ended() {
		o.Message = r.message(ctx, c.ID, rec, o.ExitCode)
	}
	return o, nil
}

// vanished judges a container without a task.
func (r *Runtime) vanished(o *podmgr.Container, rec record) {
	if rec.Boot == r.boot && o.Started.IsZero() {
		o.State = podmgr.Created // its start was cut off
		return
	}
	if e, ok := r.exits.get(o.ID); ok {
		o.State = podmgr.Exited
		setExit(o, e.code, e.at, r.oomKilled(o.UID, o.ID, e))
		return
	}
	o.State, o.ExitCode, o.Reason = podmgr.Unknown, exitKilled, "ContainerStatusUnknown"
	if rec.Boot != r.boot {
		o.ExitCode = exitUnknown
		o.Message = "the node was rebooted while the container ran"
	}
	if o.Started.IsZero() {
		o.Started = o.Created
	}
}

// setExit fills in the facts of an exit that was seen.
func setExit(o *podmgr.Container, code uint32, at time.Time, oom bool) {
	o.ExitCode, o.Finished = int32(code), at //nolint:gosec // a byte
	switch {
	case oom:
		o.Reason = "OOMKilled"
	case code == 0:
		o.Reason = "Completed"
	default:
		o.Reason = "Error"
	}
}

// startedAt reads when the container was started; zero: it was not, in this boot.
func (r *Runtime) startedAt(id string) time.Time {
	b, err := os.ReadFile(filepath.Join(r.containerState(id), startedFile))
	if err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return time.Time{}
	}
	return t
}
