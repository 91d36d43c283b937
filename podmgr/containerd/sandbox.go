package containerd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/volume"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// shmSize is the size in bytes of a pod's /dev/shm, as containerd's CRI makes it.
const shmSize = 64 << 20

// namespacesWanted says which namespaces the pod has of its own, instead of the node's.
func namespacesWanted(p *v1.Pod) wantedNamespaces {
	sysctls, _ := podSysctls(p)
	return wantedNamespaces{net: !p.Spec.HostNetwork, ipc: !p.Spec.HostIPC, uts: !p.Spec.HostNetwork, sysctls: sysctls, user: ownUsers(p)}
}

// EnsureSandbox implements podmgr.Runtime. The network and the pause come up side by side; containers can be made when
// the pause's shim runs, and started when the network is there too, which is when it returns.
func (r *Runtime) EnsureSandbox(ctx context.Context, p *manifests.Pod) error {
	if err := r.reject(ctx, p.Object); err != nil {
		return err
	}
	b, err := r.bringing.begin(p.UID())
	if err != nil {
		return err
	}
	if err = r.takePorts(ctx, p); err == nil {
		err = r.ensureSandbox(ctx, p, b.joinable)
	}
	r.bringing.end(p.UID(), b)
	if _, missing := os.Stat(r.podDir(p.UID())); err != nil && missing != nil {
		r.ports.free(p.UID()) // nothing is left that anybody would remove
	}
	if reason := (*podmgr.ReasonError)(nil); errors.As(err, &reason) {
		return err
	}
	if err != nil {
		return &podmgr.ReasonError{Reason: "FailedCreatePodSandBox", Err: err}
	}
	return nil
}

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

func (r *Runtime) ensureSandbox(ctx context.Context, p *manifests.Pod, joinable func()) error {
	free, err := r.slot(ctx)
	if err != nil {
		return err
	}
	defer free()
	// The sandbox is older than every container that was made for it, also one that is prepared meanwhile.
	begun := time.Now()
	uid, dir := p.UID(), r.podState(p.UID())
	if err := r.makePodDir(p); err != nil {
		return err
	}
	if _, err := mkdir(0o755, dir); err != nil {
		return err
	}
	if err := r.cgroups.ensure(p.Object, podmgr.QOSClass(p.Object)); err != nil {
		return err
	}
	if p.Object.Spec.Resources != nil {
		if err := r.give(sandboxID(uid), dir, podmgr.ResourcesOf(p.Object.Spec.Resources)); err != nil {
			return err
		}
	}
	if !p.Object.Spec.HostIPC {
		if err := mountShm(filepath.Join(dir, "shm")); err != nil {
			return err
		}
	}
	names, err := r.names(p.Object)
	if err != nil {
		return err
	}
	own := namespacesWanted(p.Object)
	own.hostname = names.kernel
	if own.ids, err = r.takeIDs(p); err != nil {
		return err
	}
	program := ""
	if own.user {
		if program, err = r.pauseRoot(); err != nil {
			return err
		}
	}
	if err := own.pin(dir, filepath.Join(program, "pause")); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "hosts")); err != nil {
		if err := r.writePodFiles(p, dir, nil); err != nil {
			return err // the address comes into them when it is known
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := r.ensurePause(gctx, p, own, begun); err != nil {
			return err
		}
		joinable()
		return nil
	})
	group.Go(func() error {
		var ips []string
		if own.net {
			n, err := r.network.attach(gctx, p, sandboxID(uid), filepath.Join(dir, netFile), filepath.Join(dir, networkName))
			if err != nil {
				return err
			}
			ips = n.IPs
		}
		return r.writePodFiles(p, dir, ips)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	r.background.Go(func() { r.syncPodDir(uid) }) // no start waits for the disk
	return nil
}

func mountShm(dir string) error {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC && isMountpoint(dir) {
		return nil
	}
	if _, err := mkdir(0o1777, dir); err != nil {
		return err
	}
	opts := fmt.Sprintf("mode=1777,size=%d", shmSize)
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return fmt.Errorf("mounting the pod's /dev/shm: %w", err)
	}
	return nil
}

// isMountpoint says whether dir is the root of a mount other than its parent's.
func isMountpoint(dir string) bool {
	var a, b unix.Stat_t
	if unix.Lstat(dir, &a) != nil || unix.Lstat(filepath.Dir(dir), &b) != nil {
		return false
	}
	return a.Dev != b.Dev
}

// sandboxState judges the sandbox of a UID from its namespaces, its network and its pause.
func (r *Runtime) sandboxState(ctx context.Context, uid types.UID, rec record) (podmgr.SandboxState, []string, error) {
	dir := r.podState(uid)
	if rec.Boot != r.boot || !rec.own().pinned(dir) {
		return podmgr.SandboxLost, nil, nil
	}
	if _, err := os.Stat(dir); err != nil {
		return podmgr.SandboxLost, nil, nil
	}
	var ips []string
	if rec.OwnNet {
		n, err := readNetworkFile(filepath.Join(dir, networkName))
		if err != nil || !n.Done {
			return podmgr.SandboxRepair, nil, nil
		}
		ips = n.IPs
	}
	if r.pauses.starting(sandboxID(uid)) {
		return podmgr.SandboxReady, ips, nil
	}
	st, err := r.task(ctx, sandboxID(uid))
	if err != nil {
		return 0, nil, err
	}
	if !st.running() {
		return podmgr.SandboxRepair, ips, nil
	}
	return podmgr.SandboxReady, ips, nil
}

// RemoveSandbox implements podmgr.Runtime.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	ctx = r.ns(ctx)
	c, err := r.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading sandbox %s: %w", id, err)
	}
	_, uid, _, _, ok := owner(c)
	if !ok {
		return fmt.Errorf("removing sandbox %s: it is not ours", id)
	}
	r.pauses.waitFor(id)
	dir := r.podState(uid)
	rec, _ := recordOf(c)
	if rec.OwnNet {
		// Also when nothing here tells of a network (a reboot): a CNI plugin may keep more than we do.
		if err := r.network.detach(ctx, id, filepath.Join(dir, netFile), filepath.Join(dir, networkName)); err != nil {
			return err
		}
	}
	socket := r.shimSocket(id)
	if err := r.killTask(ctx, id); err != nil {
		return err
	}
	if socket != "" && !r.cfg.ShimPerNode {
		_ = os.Remove(socket) // a shim that an earlier agent started leaves it behind
	}
	for _, f := range []string{netFile, ipcFile, utsFile, userFile} {
		if err := unpin(filepath.Join(dir, f)); err != nil {
			return err
		}
	}
	if err := r.dropSandboxRecord(ctx, id); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, lifeFile)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("ending the sandbox's life: %w", err)
	}
	if err := r.dropContainer(ctx, c); err != nil {
		return err
	}
	r.ports.free(uid)
	return nil
}

// detach undoes the network of a pod if its file says that there is one.
func (r *Runtime) detach(ctx context.Context, uid types.UID) error {
	dir := r.podState(uid)
	if _, err := os.Stat(filepath.Join(dir, networkName)); err != nil {
		return nil
	}
	return r.network.detach(ctx, sandboxID(uid), filepath.Join(dir, netFile), filepath.Join(dir, networkName))
}

// lifeFile in <state>/pods/<uid> names this life of the sandbox.
const lifeFile = "life"

// life returns the name of the pod's sandbox life that is, or that is to come. EnsureSandbox and Start may both be the
// first to ask.
func (r *Runtime) life(uid types.UID) (string, error) {
	dir, err := mkdir(0o755, r.podState(uid))
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, lifeFile)
	if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
		return string(b), nil
	}
	r.lives.Lock()
	defer r.lives.Unlock()
	if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
		return string(b), nil
	}
	name := rand.Text()
	return name, writeFile(file, []byte(name), 0o600)
}

// dropSandboxRecord removes the record by which containers of the pod find the shim.
func (r *Runtime) dropSandboxRecord(ctx context.Context, id string) error {
	if !r.engine.embedded() {
		return nil
	}
	if err := r.client.SandboxStore().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing sandbox record: %w", err)
	}
	return nil
}

// Forget implements podmgr.Runtime.
func (r *Runtime) Forget(ctx context.Context, k manifests.Key, uid types.UID) error {
	id := sandboxID(uid)
	r.pauses.waitFor(id)
	if _, err := r.client.ContainerService().Get(r.ns(ctx), id); !errdefs.IsNotFound(err) {
		return fmt.Errorf("forgetting pod %s: its sandbox is still there", k)
	}
	for _, step := range []func() error{
		// A crash between the network and the record of the sandbox leaves a network that no sandbox names.
		func() error { return r.detach(ctx, uid) },
		func() error { r.sweepContainers(ctx); return nil },
		func() error { return volume.Remove(ctx, r.volumeDirs(uid)) },
		func() error { return r.dropImageVolumes(ctx, k, uid) },
		func() error { return removeTree(r.podState(uid)) },
		func() error { return r.cgroups.remove(uid) },
		func() error { return r.dropLease(ctx, uid) },
		func() error { return r.removeLogs(k, uid) },
		func() error { return removeTree(r.podDir(uid)) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("forgetting pod %s: %w", k, err)
		}
	}
	r.pauses.forget(id)
	r.volumes.Delete(uid)
	r.storage.Delete(uid)
	r.notes.forget(uid)
	r.ports.free(uid)
	r.index.removeUID(k, uid)
	return nil
}

// shimSocket is the path of the socket on which the pod's shim listens, when the engine is ours and it is known.
func (r *Runtime) shimSocket(id string) string {
	if !r.engine.embedded() {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(r.cfg.State, "containerd", "io.containerd.runtime.v2.task", namespace, id, "bootstrap.json"))
	if err != nil {
		return ""
	}
	var boot struct {
		Address string `json:"address"`
	}
	if json.Unmarshal(b, &boot) != nil {
		return ""
	}
	path, ok := strings.CutPrefix(boot.Address, "unix://")
	if !ok || !strings.HasPrefix(path, shimSocketDir(r.cfg.State)+"/") {
		return ""
	}
	return path
}
