package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/errdefs"
	v1 "k8s.io/api/core/v1"
)

// startedFile in <state>/containers/<id> holds when the container was started; it is on a tmpfs, so that a start costs
// no flash write, and tells a container whose task vanished from one that never started.
const startedFile = "started"

// Start implements podmgr.Runtime.
func (r *Runtime) Start(ctx context.Context, p *manifests.Pod, s podmgr.Instance) error {
	c := podmgr.Spec(p.Object, s.Container)
	if c == nil {
		return fmt.Errorf("starting container %q: pod %s has none of that name", s.Container, p.Key())
	}
	id := containerID(p.UID(), s.Container, s.Attempt)
	r.making.Store(id, struct{}{})
	defer r.making.Delete(id)
	if done, err := r.alreadyStarted(ctx, id); done || err != nil {
		return err
	}
	ctx, err := r.withLease(ctx, p)
	if err != nil {
		return err
	}
	img, err := r.images.forStart(ctx, c.Image)
	if err != nil {
		return &podmgr.ReasonError{Reason: "CreateContainerError", Err: err}
	}
	start := &starting{r: r, pod: p, c: c, s: s, id: id, img: img}
	if err := start.prepare(ctx); err != nil {
		if reason := (*podmgr.ReasonError)(nil); errors.As(err, &reason) {
			return err // its sandbox is not there
		}
		return &podmgr.ReasonError{Reason: "CreateContainerConfigError", Err: err}
	}
	if err := start.create(ctx); err != nil {
		return &podmgr.ReasonError{Reason: "CreateContainerError", Err: err}
	}
	if err := r.joinable(ctx, p); err != nil {
		return err
	}
	if p.Object.Generation > 1 { // the API server may have changed what the pod is given since its cgroup was made
		q := podmgr.QOSClass(p.Object)
		if err := r.cgroups.grow(r.cgroups.pod(q, p.UID()), podResources(p.Object, q, r.cgroups.huge)); err != nil {
			return &podmgr.ReasonError{Reason: "CreateContainerError", Err: err}
		}
	}
	if len(p.Object.Spec.Containers) > 1 {
		// One container that cannot be made must not take the shim from under another one. Alone, it may as well start
		// beside the pause.
		r.pauses.awaitCreated(ctx, sandboxID(p.UID()))
	}
	free, err := r.slot(ctx)
	if err != nil {
		return err
	}
	defer free()
	if err := start.run(ctx); err != nil {
		if noSandbox := (*podmgr.ReasonError)(nil); errors.As(err, &noSandbox) {
			return err
		}
		if ctx.Err() != nil || engineFault(err) {
			return &podmgr.ReasonError{Reason: "CreateContainerError", Err: err} // the same attempt is made again
		}
		return &podmgr.ReasonError{Reason: "RunContainerError", Err: start.failed(ctx, err)}
	}
	return nil
}

// engineFault says whether the engine, the shim or the machine failed under a start, and not the container: what the OCI
// runtime refuses is the container's, and the shim says so.
func engineFault(err error) bool {
	return !strings.Contains(err.Error(), "OCI runtime")
}

// alreadyStarted says whether the instance runs or has ended. One whose start was cut off is cleared for a new start.
func (r *Runtime) alreadyStarted(ctx context.Context, id string) (bool, error) {
	c, err := r.client.ContainerService().Get(r.ns(ctx), id)
	if err == nil {
		seen, err := r.look(ctx, c)
		if err != nil {
			return false, err
		}
		if seen.State != podmgr.Created {
			k, _, _, _, _ := owner(c)
			r.index.addContainer(k, id) // whatever has happened to the index: what is started is seen
			return true, nil
		}
	} else if !errdefs.IsNotFound(err) {
		return false, fmt.Errorf("reading container %s: %w", id, err)
	}
	return false, r.killTask(r.ns(ctx), id)
}

// starting is one start of a container.
type starting struct {
	r   *Runtime
	pod *manifests.Pod
	c   *v1.Container
	s   podmgr.Instance
	id  string
	img *image

	dir  string // <state>/containers/<id>
	rec  record
	view sandboxView
	who  identityOf
}

// prepare resolves what the manifest says into paths and numbers; its errors are the user's to mend.
func (x *starting) prepare(ctx context.Context) error {
	p, r := x.pod.Object, x.r
	user, group := runAs(p, x.c)
	who, err := x.img.resolveUser(user, group, strictGroups(p))
	if err != nil {
		return err
	}
	if err := checkNonRoot(p, x.c, who); err != nil {
		return err
	}
	if psc := p.Spec.SecurityContext; psc != nil {
		if psc.FSGroup != nil {
			who.groups = addGroup(who.groups, uint32(*psc.FSGroup)) //nolint:gosec // validated to be an ID
		}
		for _, g := range psc.SupplementalGroups {
			who.groups = addGroup(who.groups, uint32(g)) //nolint:gosec // validated to be an ID
		}
	}
	ids, err := r.takeIDs(x.pod)
	if err == nil {
		err = ids.check(who)
	}
	if err != nil {
		return err
	}
	x.who = who
	names, err := r.names(p)
	if err != nil {
		return err
	}
	q := podmgr.QOSClass(p)
	x.view = sandboxView{
		dir: r.podState(x.pod.UID()), group: r.shimGroup(x.pod.UID()), hostname: names.kernel,
		own:      namespacesWanted(p),
		ids:      ids,
		cgroup:   r.cgroups.container(r.cgroups.pod(q, x.pod.UID()), x.id),
		oomScore: oomScoreAdj(p, x.c, q, memoryCapacity(), r.limits), huge: r.cgroups.huge,
		unified: r.cgroups.unified,
	}
	if err := checkHugePages(p, x.c, r.cgroups.huge); err != nil {
		return err
	}
	if x.view.confine, err = r.confine(p, x.c); err != nil {
		return err
	}
	if sharedPID(p) {
		if err := r.bringing.await(ctx, x.pod.UID(), false); err != nil {
			return err
		}
		st, err := r.pausePID(ctx, x.pod)
		if err != nil {
			return err
		}
		x.view.pausePID = st
	}
	if x.view.targetPID, err = x.target(ctx); err != nil {
		return err
	}
	if err := x.resolveVolumes(ctx); err != nil {
		return err
	}
	if err := x.checkWorkingDir(ctx); err != nil {
		return err
	}
	if err := x.declaredVolumes(ctx); err != nil {
		return err
	}
	return x.mapVolumes(ctx)
}

// create writes the container's record and files.
func (x *starting) create(ctx context.Context) error {
	p, r := x.pod.Object, x.r
	var err error
	if x.dir, err = mkdir(0o700, r.containerState(x.id)); err != nil {
		return err
	}
	life, err := r.life(x.pod.UID())
	if err != nil {
		return err
	}
	x.rec = record{
		Life: life,
		Boot: r.boot, Image: x.c.Image, ImageID: x.img.repoDigest(), Backoff: x.s.Backoff, StopSignal: stopSignalOf(x.img),
		Resources: new(podmgr.ResourcesOf(&x.c.Resources)),
		Stdin:     x.c.Stdin, StdinOnce: x.c.StdinOnce, TTY: x.c.TTY,
		LogPath: logs.File(r.cfg.PodLogs, p.Namespace, p.Name, p.UID, x.c.Name, x.s.Attempt),
	}
	if l := x.c.Lifecycle; l != nil && l.StopSignal != nil {
		x.rec.StopSignal = string(*l.StopSignal)
	}
	x.rec.FallbackToLogs = x.c.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError
	x.rec.User = x.who.shown()
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil {
		x.rec.Grace = time.Duration(*g) * time.Second
	}
	if x.c.TerminationMessagePath != "" {
		x.rec.MessageFile = filepath.Join(x.dir, "termination-log")
		if err := writeFile(x.rec.MessageFile, nil, 0o666); err != nil {
			return err
		}
		if err := os.Chmod(x.rec.MessageFile, 0o666); err != nil { // whatever the umask says
			return fmt.Errorf("opening the termination message file: %w", err)
		}
		x.view.termination = x.rec.MessageFile
	}
	spec, err := containerSpec(p, x.c, x.img, x.who, x.view)
	if err == nil && x.view.ids != 0 {
		err = keepLocked(spec.Mounts)
	}
	if err != nil {
		return err
	}
	if _, err := r.mounts(ctx, x.rootfs()); err != nil {
		return err
	}
	return r.createContainer(ctx, x.pod, x.id, x.c.Name, x.s.Attempt, kindContainer, spec, x.rootfs(), x.rec)
}

// stopSignalOf is an image's STOPSIGNAL, empty when it is none.
func stopSignalOf(i *image) string {
	if _, ok := parseStopSignal(i.config.StopSignal); !ok {
		return ""
	}
	return i.config.StopSignal
}

func (x *starting) rootfs() rootfs {
	return rootfs{snapshot: x.id, parent: x.img.chainID, ids: x.view.ids}
}

// run makes the process and starts the program in it.
func (x *starting) run(ctx context.Context) error {
	r := x.r
	release, err := r.logs.attach(x.id, x.dir, x.rec.LogPath)
	if err != nil {
		return err
	}
	defer release()
	// Not cut off half-way: a half-made process takes its time to clean up, and a shim without another container its life.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	streams, err := x.streams()
	if err != nil {
		return err
	}
	if err := r.createTask(ctx, x.id, x.rootfs(), streams); err != nil {
		return fmt.Errorf("creating the container's process: %w", err)
	}
	if err := r.usable(ctx, x.pod); err != nil {
		return errors.Join(err, r.killTask(ctx, x.id))
	}
	if err := r.expectKills(x.pod.UID(), x.dir); err != nil {
		return err
	}
	// Before the start: a container that ran for an instant must not look as if it never had.
	if err := writeFile(filepath.Join(x.dir, startedFile), []byte(time.Now().Format(time.RFC3339Nano)), 0o600); err != nil {
		return err
	}
	if err := r.startTask(ctx, x.id); err != nil {
		return fmt.Errorf("starting the container's process: %w", err)
	}
	return nil
}

// failed turns a container whose program could not be started into one that has ended with StartError, as the kubelet
// shows it.
func (x *starting) failed(ctx context.Context, cause error) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	ctx = x.r.ns(ctx)
	errs := []error{cause}
	if err := x.r.killTask(ctx, x.id); err != nil {
		errs = append(errs, err)
	}
	const exitCannotRun = 128
	x.rec.Sealed, x.rec.ExitCode, x.rec.Reason, x.rec.Message = true, exitCannotRun, "StartError", cause.Error()
	x.rec.Finished = time.Now()
	if err := x.r.updateRecord(ctx, x.id, x.rec); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// pausePID waits for the pause to run: containers join its PID namespace.
func (r *Runtime) pausePID(ctx context.Context, p *manifests.Pod) (uint32, error) {
	id := sandboxID(p.UID())
	r.pauses.waitFor(id)
	st, err := r.task(ctx, id)
	if err != nil {
		return 0, err
	}
	if !st.running() {
		return 0, errors.New("the pod's pause does not run yet")
	}
	return st.pid, nil
}
