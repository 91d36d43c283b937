package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	continuity "github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/apimachinery/pkg/types"
)

// An image's VOLUME is a directory that its container can write to, also when the root filesystem is read-only, and that
// begins with what the image has there. A writable root filesystem is just that already. So a directory of the node is
// made only for a read-only one, or where the image lacks the directory; it lives as long as the container's record.

// What is copied for one volume at most.
const (
	maxVolumeBytes = 1 << 30
	maxVolumeFiles = 100_000
)

// declaredVolume is one VOLUME of an image.
type declaredVolume struct {
	path   string // clean, absolute
	exists bool   // a directory of the image
}

// readVolumes looks at the image's volumes and working directory in a read-only view of its root filesystem. No link of
// the tree leads out of it.
func (i *image) readVolumes(root string) error {
	for v := range i.config.Volumes {
		clean := path.Clean(v)
		h, err := pathrs.OpenInRoot(root, clean)
		if err == nil {
			st, serr := h.Stat()
			_ = h.Close()
			if serr != nil || !st.IsDir() {
				return fmt.Errorf("volume %q of the image is no directory in it", v)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("resolving volume %q of the image: %w", v, err)
		}
		i.volumes = append(i.volumes, declaredVolume{path: clean, exists: err == nil})
	}
	slices.SortFunc(i.volumes, func(a, b declaredVolume) int { return strings.Compare(a.path, b.path) })
	if i.config.WorkingDir == "" {
		return nil
	}
	return checkWorkingDir(root, i.config.WorkingDir)
}

// checkWorkingDir refuses a working directory that a link of the image leads out of the container: root is a read-only
// view of its files, which nobody changes, and what is not there yet, the OCI runtime makes. Where a link in a volume leads,
// the OCI runtime alone can see.
func checkWorkingDir(root, dir string) error {
	at, err := securejoin.SecureJoin(root, dir)
	if err != nil {
		return fmt.Errorf("resolving working directory %s in the image: %w", dir, err)
	}
	if bad := outsideDir(strings.TrimPrefix(at, root)); bad != "" {
		return fmt.Errorf("working directory %s leads below %s in the image, which is not allowed", dir, bad)
	}
	return nil
}

// outsideDir is the directory through which a process that begins at a clean absolute path could reach what is not its
// container's (CVE-2024-21626: /proc/self/fd, which links in every container's /dev lead to); empty: none.
func outsideDir(dir string) string {
	for _, bad := range []string{"/proc", "/sys", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"} {
		if dir == bad || strings.HasPrefix(dir, bad+"/") {
			return bad
		}
	}
	return ""
}

// checkWorkingDir looks where the pod's own working directory leads in the image; the image's own was looked at when it came.
func (x *starting) checkWorkingDir(ctx context.Context) error {
	if x.c.WorkingDir == "" || path.Clean(x.c.WorkingDir) == "/" {
		return nil
	}
	mounts, drop, err := x.r.images.view(ctx, "workdir-"+x.id, x.img.chainID)
	if err != nil {
		return err
	}
	defer drop()
	return mount.WithReadonlyTempMount(ctx, mounts, func(root string) error { return checkWorkingDir(root, x.c.WorkingDir) })
}

// declaredDir is where the volumes of a container's image lie.
func (r *Runtime) declaredDir(uid types.UID, id string) string {
	return filepath.Join(r.podDir(uid), "declared-volumes", id)
}

// declaredVolumes makes the volumes of the image that the container needs, but for those that the pod mounts itself, and
// mounts them.
func (x *starting) declaredVolumes(ctx context.Context) error {
	sc := x.c.SecurityContext
	readonly := sc != nil && sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
	var needed []declaredVolume
	for _, v := range x.img.volumes {
		mounted := slices.ContainsFunc(x.view.mounts, func(m specs.Mount) bool { return m.Destination == v.path })
		if !mounted && (readonly || !v.exists) {
			needed = append(needed, v)
		}
	}
	if len(needed) == 0 {
		return nil
	}
	dir := x.r.declaredDir(x.pod.UID(), x.id)
	if err := removeTree(dir); err != nil { // of a start that was cut off
		return err
	}
	mounts, drop, err := x.r.images.view(ctx, "volumes-"+x.id, x.img.chainID)
	if err != nil {
		return err
	}
	defer drop()
	return mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
		for n, v := range needed {
			host, err := mkdir(0o755, dir, strconv.Itoa(n))
			if err != nil {
				return err
			}
			if v.exists {
				if err := copyVolume(host, root, v.path); err != nil {
					return fmt.Errorf("filling volume %q of the image: %w", v.path, err)
				}
			}
			x.view.mounts = append(x.view.mounts, specs.Mount{
				Destination: v.path, Type: "bind", Source: host, Options: []string{"rbind", "rprivate", "rw"},
			})
		}
		return nil
	})
}

// copyVolume copies what an image has at dir, resolved inside root by file descriptor, and no more than is sane.
func copyVolume(to, root, dir string) error {
	h, err := pathrs.OpenInRoot(root, dir)
	if err != nil {
		return err
	}
	defer h.Close()
	source := fmt.Sprintf("/proc/self/fd/%d/", h.Fd())
	var bytes, files int64
	err = filepath.WalkDir(source, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if files++; d.Type().IsRegular() {
			st, err := d.Info()
			if err != nil {
				return err
			}
			bytes += st.Size()
		}
		if files > maxVolumeFiles || bytes > maxVolumeBytes {
			return fmt.Errorf("it has more than %d files or %d bytes", maxVolumeFiles, maxVolumeBytes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return continuity.CopyDir(to, source)
}

// view makes a read-only view of an unpacked image; drop removes it.
func (x *images) view(ctx context.Context, key, chainID string) (mounts []mount.Mount, drop func(), err error) {
	sn := x.client.SnapshotService(x.snapshotter)
	mounts, err = sn.View(ctx, key, chainID)
	if errdefs.IsAlreadyExists(err) {
		mounts, err = sn.Mounts(ctx, key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("viewing the image: %w", err)
	}
	return mounts, func() {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		_ = sn.Remove(ctx, key)
	}, nil
}
