package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// ensureClaim makes the storage exist that the source found behind the pod's claim.
func (s Set) ensureClaim(ctx context.Context, v *v1.Volume) (string, error) {
	c, ok := s.Pod.Bound.Claim(v.Name)
	switch {
	case !ok:
		kind, reason := manifests.VolumeRefusal(v)
		return "", refused(v, kind, reason)
	case c.HostPath != nil:
		stands := v1.Volume{Name: v.Name, VolumeSource: v1.VolumeSource{HostPath: c.HostPath}}
		return c.HostPath.Path, ensureHostPath(stands)
	case c.Local != nil:
		return s.ensureLocal(v.Name, c)
	case c.NFS != nil:
		return s.ensureNFS(ctx, &v1.Volume{Name: v.Name, VolumeSource: v1.VolumeSource{NFS: c.NFS}})
	}
	return "", fmt.Errorf("volume %q: %s", v.Name, c.Problem)
}

// ensureLocal binds a directory of the node to a mount point of the pod's own, and gives it to fsGroup first (kubelet:
// pkg/volume/local). The mount is what says that this pod has done so.
func (s Set) ensureLocal(name string, c manifests.Claim) (string, error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("volume %q: %w", name, err) }
	dir := s.Dirs.Mount(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(fmt.Errorf("creating its mount point: %w", err))
	}
	mounted, err := IsMountPoint(dir)
	if err != nil {
		return fail(err)
	}
	if mounted {
		return dir, nil
	}
	source, err := filepath.EvalSymlinks(c.Local.Path)
	if err != nil {
		return fail(fmt.Errorf("finding the local volume: %w", err))
	}
	st, err := os.Stat(source)
	if err != nil {
		return fail(fmt.Errorf("finding the local volume: %w", err))
	}
	if !st.IsDir() {
		return fail(fmt.Errorf("the local volume %s is no directory: block devices are not supported; mount the file system on the node", c.Local.Path))
	}
	if s.fsGroup() >= 0 && !c.ReadOnly {
		if err := s.ownAgain(source); err != nil {
			return fail(err)
		}
	}
	if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
		return fail(fmt.Errorf("binding the local volume: %w", err))
	}
	return dir, nil
}

// ownAgain gives storage that is older than the pod to fsGroup: all of it by spec.securityContext.fsGroupChangePolicy
// Always, which is the default, with OnRootMismatch only where its root is not the group's yet.
func (s Set) ownAgain(dir string) error {
	if p := s.Pod.Object.Spec.SecurityContext.FSGroupChangePolicy; p != nil && *p == v1.FSGroupChangeOnRootMismatch {
		return ownTree(dir, s.fsGroup())
	}
	return ownWhole(dir, s.fsGroup())
}

func refused(v *v1.Volume, kind, reason string) error {
	return fmt.Errorf("volume %q: %s is not supported: %s", v.Name, kind, reason)
}
