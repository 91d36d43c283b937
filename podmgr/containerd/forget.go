package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr/volume"
	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/types"
)

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
