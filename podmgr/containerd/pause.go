package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"edgepod.dev/agent/contrib/pause"
	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// pauses knows the pause starts that go on at this moment.
type pauses struct {
	mu     sync.Mutex
	m      map[string]*pauseStart
	failed map[string]bool // whose last start failed
}

// pauseStart is one start of a pause: shim is closed when the pod's shim can be used, created when the pause's process
// exists, done when it runs or its start failed. err is set before the channel that it explains is closed.
type pauseStart struct {
	shim    chan struct{}
	created chan struct{}
	done    chan struct{}
	err     error
	// again says that the start before this one failed: this one is waited for to the end, so that its failure is told.
	again bool
}

func newPauses() *pauses { return &pauses{m: map[string]*pauseStart{}, failed: map[string]bool{}} }

// begin returns the start of id that goes on, or a new one that the caller has to run.
func (p *pauses) begin(id string) (s *pauseStart, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.m[id]; ok {
		return s, false
	}
	s = &pauseStart{again: p.failed[id], shim: make(chan struct{}), created: make(chan struct{}), done: make(chan struct{})}
	p.m[id] = s
	return s, true
}

func (p *pauses) end(id string, s *pauseStart) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, id)
	delete(p.failed, id)
	if s.err != nil {
		p.failed[id] = true
	}
	close(s.done)
}

func (p *pauses) starting(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.m[id]
	return ok
}

// waitFor waits until no start of id goes on.
func (p *pauses) waitFor(id string) {
	p.mu.Lock()
	s := p.m[id]
	p.mu.Unlock()
	if s != nil {
		<-s.done
	}
}

// forget drops what is known of a sandbox that is gone.
func (p *pauses) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failed, id)
}

// wait waits until no start goes on at all.
func (p *pauses) wait() {
	p.mu.Lock()
	var all []*pauseStart
	for _, s := range p.m {
		all = append(all, s)
	}
	p.mu.Unlock()
	for _, s := range all {
		<-s.done
	}
}

// ensurePause starts the pause when it does not run and returns when its shim can take containers; the pause itself
// comes up meanwhile.
func (r *Runtime) ensurePause(ctx context.Context, p *manifests.Pod, own wantedNamespaces, begun time.Time) error {
	id := sandboxID(p.UID())
	s, mine := r.pauses.begin(id)
	if mine {
		r.background.Go(func() {
			defer r.pauses.end(id, s)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			up := sync.OnceFunc(func() { close(s.shim) })
			r.background.Go(func() {
				if r.engine.shimUp(r.ns(ctx), id) {
					up()
				}
			})
			created := func() { up(); close(s.created) }
			if s.err = r.startPause(ctx, p, own, id, begun, created); s.err != nil {
				r.log.Warn().Err(s.err).Str("pod", p.Key().String()).Msg("starting the pause")
			}
		})
	}
	shim := s.shim
	if s.again {
		shim = nil
	}
	select {
	case <-shim:
		return nil
	case <-s.done:
		return s.err
	case <-ctx.Done():
		<-s.done // what it makes must be seen by whoever cancelled
		return ctx.Err()
	}
}

// awaitCreated waits until the pause of id has a process, or has not got one. Until then the shim counts no container and
// would end when the making of another one fails.
func (p *pauses) awaitCreated(ctx context.Context, id string) {
	p.mu.Lock()
	s := p.m[id]
	p.mu.Unlock()
	if s == nil {
		return
	}
	select {
	case <-s.created:
	case <-s.done:
	case <-ctx.Done():
	}
}

// startPause makes record and task of the pause, calls created, and starts it.
func (r *Runtime) startPause(ctx context.Context, p *manifests.Pod, own wantedNamespaces, id string, begun time.Time, created func()) error {
	st, err := r.task(r.ns(ctx), id)
	if err != nil {
		return err
	}
	if st.running() {
		return nil
	}
	if st.exists() {
		if err := r.killTask(r.ns(ctx), id); err != nil {
			return err
		}
	}
	ctx, err = r.withLease(ctx, p)
	if err != nil {
		return err
	}
	spec, rootfs, err := r.pauseSpec(ctx, p, own)
	if err != nil {
		return err
	}
	if err := r.recordPause(ctx, p, own, id, spec, rootfs, begun); err != nil {
		return err
	}
	if err := r.createTask(ctx, id, rootfs, streams{}); err != nil {
		return fmt.Errorf("creating the pause: %w", err)
	}
	created()
	if err := r.startTask(ctx, id); err != nil {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		_ = r.killTask(r.ns(ctx), id)
		return fmt.Errorf("starting the pause: %w", err)
	}
	return nil
}

// recordPause writes the container record of the pause, and for the embedded engine the sandbox record that lets the
// pod's containers use the pause's shim.
func (r *Runtime) recordPause(ctx context.Context, p *manifests.Pod, own wantedNamespaces, id string, spec *specs.Spec, rootfs rootfs, begun time.Time) error {
	life, err := r.life(p.UID())
	if err != nil {
		return err
	}
	rec := record{
		Boot: r.boot, Life: life, OwnNet: own.net, OwnIPC: own.ipc, OwnUTS: own.uts, OwnUser: own.user,
		Created: begun,
	}
	if old, err := r.client.ContainerService().Get(ctx, id); err == nil {
		if o, ok := recordOf(old); ok && o.Boot == r.boot {
			rec.Created = o.Created // a repair
		}
		if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("replacing the pause's record: %w", err)
		}
	}
	if err := r.createContainer(ctx, p, id, "", 0, kindSandbox, spec, rootfs, rec); err != nil {
		return err
	}
	if !r.engine.embedded() {
		return nil
	}
	info, err := r.runtimeInfo(p.Object, own.ids)
	if err != nil {
		return err
	}
	sb := sandbox.Sandbox{ID: id, Runtime: sandbox.RuntimeOpts{Name: info.Name}, Labels: podLabels(p, kindSandbox)}
	if _, err := r.client.SandboxStore().Create(ctx, sb); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("creating sandbox record: %w", err)
	}
	return nil
}

// pauseSpec is the spec of the built-in pause, or of the image that replaces it.
func (r *Runtime) pauseSpec(ctx context.Context, p *manifests.Pod, own wantedNamespaces) (*specs.Spec, rootfs, error) {
	var (
		fs   rootfs
		args = []string{"/pause"}
		root string
	)
	if r.cfg.PauseImage == "" {
		var err error
		if root, err = r.pauseRoot(); err != nil {
			return nil, fs, err
		}
	} else {
		if _, err := r.Pull(ctx, p, r.cfg.PauseImage, "IfNotPresent"); err != nil {
			return nil, fs, fmt.Errorf("pulling the pause image: %w", err)
		}
		img, err := r.images.forStart(ctx, r.cfg.PauseImage)
		if err != nil {
			return nil, fs, fmt.Errorf("reading the pause image: %w", err)
		}
		args = append(append([]string(nil), img.config.Entrypoint...), img.config.Cmd...)
		if len(args) == 0 {
			args = []string{"/pause"}
		}
		root, fs = "rootfs", rootfs{snapshot: sandboxID(p.UID()), parent: img.chainID, ids: own.ids}
	}
	oom := max(oomGuaranteed-1, r.limits.minOOMScoreAdj)
	cgroup := r.cgroups.container(r.cgroups.pod(podmgr.QOSClass(p.Object), p.UID()), sandboxID(p.UID()))
	shares := uint64(minShares)
	view := sandboxView{dir: r.podState(p.UID()), own: own, ids: own.ids, unified: r.cgroups.unified}
	_, inside := podSysctls(p.Object)
	ns := namespacesOf(p.Object, view)
	for i := range ns {
		if ns[i].Type == specs.PIDNamespace {
			ns[i].Path = "" // the pause is the first process of a shared one
		}
	}
	return &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: root, Readonly: true},
		Annotations: map[string]string{shimGroup: r.shimGroup(p.UID())},
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{defaultPath}, NoNewPrivileges: true,
			User: specs.User{UID: 65535, GID: 65535}, OOMScoreAdj: &oom,
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=755", "size=64k"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: cgroup, Namespaces: ns, MaskedPaths: maskedPaths(), ReadonlyPaths: []string{"/proc/sys"},
			Sysctl: inside, UIDMappings: own.ids.mappings(), GIDMappings: own.ids.mappings(),
			Resources: &specs.LinuxResources{
				CPU:     &specs.LinuxCPU{Shares: &shares},
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
		},
	}, fs, nil
}

// pauseRoot makes the root filesystem of the built-in pause: one program.
func (r *Runtime) pauseRoot() (string, error) {
	root, err := mkdir(0o755, r.cfg.State, "pause")
	if err != nil {
		return "", err
	}
	for _, mountpoint := range []string{"proc", "dev"} {
		if _, err := mkdir(0o755, root, mountpoint); err != nil {
			return "", err
		}
	}
	file := filepath.Join(root, "pause")
	if st, err := os.Stat(file); err == nil && st.Size() == int64(len(pause.Binary())) && st.Mode().Perm() == 0o755 {
		return root, nil
	}
	r.pauseFile.Lock()
	defer r.pauseFile.Unlock()
	return root, writeFile(file, pause.Binary(), 0o755)
}
