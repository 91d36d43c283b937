package containerd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	k8stypes "k8s.io/apimachinery/pkg/types"
)

// rootfs says what a container's root filesystem is made of: a snapshot of that key on that parent; nothing when the
// spec names a directory itself.
type rootfs struct {
	snapshot string
	parent   string
	ids      idRange // mapped in it
}

// taskState is what the engine says of a task; the zero value: there is none.
type taskState struct {
	status task.Status
	pid    uint32
	code   uint32
	exited time.Time
}

func (s taskState) exists() bool  { return s.status != task.Status_UNKNOWN }
func (s taskState) running() bool { return s.status == task.Status_RUNNING }

// exit is how a stopped task has ended; event is the engine's event of it, if one came. A shim knows for an instant that a
// process has ended but not yet how: that is no exit with code 0 at no time. The event tells, and has the pod looked at again.
func (s taskState) exit(event exit, came bool) (e exit, known bool) {
	if s.exited.IsZero() {
		return event, came
	}
	return exit{code: s.code, at: s.exited}, true
}

// task asks for the state of a task; a task that is gone is no error.
func (r *Runtime) task(ctx context.Context, id string) (taskState, error) {
	resp, err := r.client.TaskService().Get(r.ns(ctx), &tasks.GetRequest{ContainerID: id})
	if err != nil {
		err = errgrpc.ToNative(err)
		if errdefs.IsNotFound(err) {
			return taskState{}, nil
		}
		return taskState{}, fmt.Errorf("asking for task %s: %w", id, err)
	}
	p := resp.GetProcess()
	st := taskState{status: p.GetStatus(), pid: p.GetPid(), code: p.GetExitStatus()}
	if p.GetExitedAt() != nil {
		st.exited = p.GetExitedAt().AsTime()
	}
	return st, nil
}

// shimGroup is which shim a pod's containers share.
func (r *Runtime) shimGroup(uid k8stypes.UID) string {
	if r.cfg.ShimPerNode {
		return "agent-node"
	}
	return "agent-" + string(uid)
}

func podLabels(p *manifests.Pod, kind string) map[string]string {
	return map[string]string{
		labelPodName: p.Object.Name, labelPodNamespace: p.Object.Namespace, labelPodUID: string(p.UID()), labelKind: kind,
	}
}

// createContainer writes the container's record. A container of that ID that is there already is the same one.
func (r *Runtime) createContainer(ctx context.Context, p *manifests.Pod, id, name string, attempt int, kind string, spec *specs.Spec, fs rootfs, rec record) error {
	labels := podLabels(p, kind)
	sandbox := ""
	if kind == kindContainer {
		labels[labelContainerName] = name
		labels[labelAttempt] = strconv.Itoa(attempt)
		if r.engine.embedded() {
			sandbox = sandboxID(p.UID())
		}
	}
	for key, value := range r.handlerAnnotations(p.Object, kind, name) {
		spec.Annotations[key] = value
	}
	anySpec, err := typeurl.MarshalAny(spec)
	if err != nil {
		return fmt.Errorf("encoding the OCI spec: %w", err)
	}
	info, err := r.runtimeInfo(p.Object, fs.ids)
	if err != nil {
		return err
	}
	anyRecord, err := rec.any()
	if err != nil {
		return err
	}
	c := containers.Container{
		ID: id, Labels: labels, Image: rec.Image, Spec: anySpec, SandboxID: sandbox,
		Runtime:    info,
		Extensions: map[string]typeurl.Any{extension: anyRecord},
	}
	if fs.snapshot != "" {
		c.Snapshotter, c.SnapshotKey = r.snapshotter, fs.snapshot
	}
	if _, err := r.client.ContainerService().Create(ctx, c); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("creating container record: %w", err)
	}
	// Only now: Observe takes a container that is in the index and has no record for one that somebody removed.
	r.index.addContainer(p.Key(), id)
	return nil
}

// mounts returns the mounts of a root filesystem, made when it is not there.
func (r *Runtime) mounts(ctx context.Context, fs rootfs) ([]mount.Mount, error) {
	if fs.snapshot == "" {
		return nil, nil
	}
	sn := r.client.SnapshotService(r.snapshotter)
	var opts []snapshots.Opt
	if fs.ids != 0 {
		opts = append(opts, snapshots.WithLabels(fs.ids.labels()))
	}
	m, err := sn.Prepare(ctx, fs.snapshot, fs.parent, opts...)
	if errdefs.IsAlreadyExists(err) {
		m, err = sn.Mounts(ctx, fs.snapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing the root filesystem: %w", err)
	}
	return m, nil
}

// streams are the pipes of a container's first process; the zero value: it has none. A terminal has no stderr.
type streams struct {
	stdin, stdout, stderr string
	tty                   bool
}

// createTask makes the container's process, not yet running the container's program.
func (r *Runtime) createTask(ctx context.Context, id string, fs rootfs, s streams) error {
	mounts, err := r.mounts(ctx, fs)
	if err != nil {
		return err
	}
	req := &tasks.CreateTaskRequest{ContainerID: id, Stdin: s.stdin, Stdout: s.stdout, Stderr: s.stderr, Terminal: s.tty}
	for _, m := range mounts {
		req.Rootfs = append(req.Rootfs, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	_, err = r.client.TaskService().Create(ctx, req)
	return errgrpc.ToNative(err)
}

func (r *Runtime) startTask(ctx context.Context, id string) error {
	_, err := r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id})
	return errgrpc.ToNative(err)
}

// signal sends a signal to a task's first process, or to all of them. A process that is gone is no error.
func (r *Runtime) signal(ctx context.Context, id string, sig unix.Signal, all bool) error {
	_, err := r.client.TaskService().Kill(r.ns(ctx), &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: all})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("sending %s to %s: %w", unix.SignalName(sig), id, err)
	}
	return nil
}

// waitTask returns when the task has ended or ctx has; a task that is gone has ended.
func (r *Runtime) waitTask(ctx context.Context, id string) error {
	_, err := r.client.TaskService().Wait(r.ns(ctx), &tasks.WaitRequest{ContainerID: id})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err = errgrpc.ToNative(err); err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	if d, bounded := ctx.Deadline(); bounded && !time.Now().Before(d) {
		return context.DeadlineExceeded // an engine behind a socket saw it before our own timer did
	}
	// The shim may have died while we waited: then the task is gone.
	st, serr := r.task(ctx, id)
	if serr == nil && !st.running() {
		return nil
	}
	return fmt.Errorf("waiting for %s: %w", id, err)
}

// killTask kills a task, waits for its end and deletes it.
func (r *Runtime) killTask(ctx context.Context, id string) error {
	st, err := r.task(ctx, id)
	if err != nil {
		return err
	}
	if st.status == task.Status_RUNNING || st.status == task.Status_PAUSED || st.status == task.Status_CREATED {
		if err := r.signal(ctx, id, unix.SIGKILL, true); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := r.waitTask(wait, id); err != nil {
			return err
		}
	}
	return r.deleteTask(ctx, id)
}

// deleteTask releases an ended task, its shim's hold on it and its mounts.
func (r *Runtime) deleteTask(ctx context.Context, id string) error {
	_, err := r.client.TaskService().Delete(r.ns(ctx), &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting task %s: %w", id, err)
	}
	return nil
}

// dropContainer removes an ended container's snapshot, record and state.
func (r *Runtime) dropContainer(ctx context.Context, c containers.Container) error {
	if c.SnapshotKey != "" {
		// Under the pod's lease, or that would remember the snapshot of each restart for as long as the pod lives.
		_, uid, _, _, _ := owner(c)
		if err := r.client.SnapshotService(c.Snapshotter).Remove(leases.WithLease(ctx, leaseID(uid)), c.SnapshotKey); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing the root filesystem of %s: %w", c.ID, err)
		}
	}
	if err := removeTree(r.containerState(c.ID)); err != nil {
		return err
	}
	if err := r.client.ContainerService().Delete(ctx, c.ID); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting container record: %w", err)
	}
	r.index.removeContainer(c.ID)
	r.exits.forget(c.ID)
	r.given.Delete(c.ID)
	return nil
}

func (r *Runtime) containerState(id string) string {
	return filepath.Join(r.cfg.State, "containers", id)
}

var errNotEnded = errors.New("it still runs")
