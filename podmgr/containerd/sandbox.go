package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
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
