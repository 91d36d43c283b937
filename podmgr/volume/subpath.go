package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// SubPath returns what the n-th mount of a container has to bind: the volume, or what subPath or subPathExpr names in it.
//
// A subPath is resolved inside the volume by file descriptor, as if the volume were the root of the file system, and the
// inode found is bound to a path of the pod's own: the path that is returned leads to what was checked, whatever the
// container does to its volume in the meantime (CVE-2017-1002101, CVE-2021-25741). Directories that are missing are made
// with the mode of the volume, as the kubelet does. Call it at each start of the container: a bind mount of an earlier one
// is replaced.
func (s Set) SubPath(paths map[string]string, c *v1.Container, n int, env []manifests.EnvVar) (string, error) {
	m := &c.VolumeMounts[n]
	root, ok := paths[m.Name]
	if !ok {
		return "", fmt.Errorf("container %q mounts volume %q, which the pod does not have", c.Name, m.Name)
	}
	path, err := subPathOf(m, env)
	if err != nil {
		return "", err
	}
	if path == "" {
		return root, nil
	}
	target := s.Dirs.subpath(c.Name, n)
	if err := clearTarget(target); err != nil {
		return "", fmt.Errorf("subPath of volume %q: %w", m.Name, err)
	}
	v := s.volume(m.Name)
	h, err := openSubPath(root, path, v == nil || !manifests.VolumeHasFiles(v))
	if errors.Is(err, errNotMade) {
		// An optional object, or key, that is missing: an empty directory, without one in the volume itself where it
		// would be in the way of the key that comes.
		if err := mkdirMode(target, 0o755); err != nil {
			return "", fmt.Errorf("subPath of volume %q: %w", m.Name, err)
		}
		return target, nil
	}
	if err != nil {
		return "", fmt.Errorf("subPath of volume %q: %w", m.Name, err)
	}
	defer func() { _ = h.Close() }()
	if err := bind(h, target); err != nil {
		return "", fmt.Errorf("subPath of volume %q: %w", m.Name, err)
	}
	return target, nil
}

// subPathOf is the subPath of a mount, expanded; the kubelet's words where it is wrong.
func subPathOf(m *v1.VolumeMount, env []manifests.EnvVar) (string, error) {
	path := m.SubPath
	if m.SubPathExpr != "" {
		var missing []string
		path = manifests.Expand(m.SubPathExpr, func(name string) (string, bool) {
			i := slices.IndexFunc(env, func(e manifests.EnvVar) bool { return e.Name == name })
			if i < 0 {
				missing = append(missing, name)
				return "", false
			}
			return env[i].Value, true
		})
		if len(missing) > 0 {
			return "", fmt.Errorf("missing value for %q", strings.Join(missing, `", "`))
		}
	}
	switch {
	case filepath.IsAbs(path):
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", path)
	case slices.Contains(strings.Split(path, "/"), ".."):
		return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", path)
	}
	return path, nil
}

// errNotMade says that a path is missing in a volume in which nothing is to be made.
var errNotMade = errors.New("it does not exist")

// openSubPath opens what path leads to inside root, without a way out of it, and makes the directories that are missing
// if it may. The descriptor is for binding only (O_PATH), so that opening a FIFO or a device has no effect.
func openSubPath(root, path string, mayMake bool) (*os.File, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the volume: %w", err)
	}
	r := os.NewFile(uintptr(fd), root)
	defer func() { _ = r.Close() }()
	h, err := pathrs.OpenatInRoot(r, path)
	switch {
	case err == nil:
		return h, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, hideHost(err)
	case !mayMake:
		return nil, errNotMade
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("looking at the volume: %w", err)
	}
	// One element at a time, so that each directory that is made here gets its mode, whatever the umask says.
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if h != nil {
			_ = h.Close()
		}
		if h, err = makeSubPath(r, path[:i], st.Mode&(0o777|unix.S_ISGID|unix.S_ISVTX)); err != nil {
			return nil, hideHost(err)
		}
	}
	return h, nil
}

func makeSubPath(root *os.File, path string, mode uint32) (*os.File, error) {
	h, err := pathrs.OpenatInRoot(root, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return h, err
	}
	if h, err = pathrs.MkdirAllHandle(root, path, os.FileMode(mode&0o777)); err != nil {
		return nil, err
	}
	if err := unix.Fchmod(int(h.Fd()), mode); err != nil {
		_ = h.Close()
		return nil, err
	}
	return h, nil
}

// hideHost keeps the bare reason of an error: its paths may tell a pod what is on the host.
func hideHost(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return fmt.Errorf("it cannot be resolved inside the volume: %w", errno)
	}
	return errors.New("it cannot be resolved inside the volume")
}

// clearTarget takes away the bind mount of an earlier start. Containers have their own copy of it.
func clearTarget(target string) error {
	for {
		switch err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); {
		case err == nil:
			continue
		case errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EINVAL):
			return fmt.Errorf("unmounting an earlier one: %w", err)
		}
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing an earlier one: %w", err)
		}
		return nil
	}
}

// bind mounts the inode behind h on target.
func bind(h *os.File, target string) error {
	st, err := h.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("creating its mount point: %w", err)
	}
	if st.IsDir() {
		err = os.Mkdir(target, 0o700)
	} else {
		err = os.WriteFile(target, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("creating its mount point: %w", err)
	}
	if err := unix.Mount(procFD(int(h.Fd())), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding it: %w", err)
	}
	return nil
}

// maxEnvFile bounds a file that env.valueFrom.fileKeyRef reads, in bytes.
const maxEnvFile = 1 << 20

// ReadFile makes manifests.Facts.ReadVolumeFile of the paths that Ensure returned: it reads a regular file of a volume,
// resolved inside the volume.
func ReadFile(paths map[string]string) func(volume, path string) ([]byte, error) {
	return func(volume, path string) ([]byte, error) {
		root, ok := paths[volume]
		if !ok {
			return nil, fmt.Errorf("cannot find the volume %q", volume)
		}
		h, err := openSubPath(root, path, false)
		if errors.Is(err, errNotMade) {
			return nil, fs.ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		defer func() { _ = h.Close() }()
		switch st, err := h.Stat(); {
		case err != nil:
			return nil, err
		case !st.Mode().IsRegular():
			return nil, errors.New("it is not a regular file")
		case st.Size() > maxEnvFile:
			return nil, fmt.Errorf("it is larger than %d bytes", maxEnvFile)
		}
		f, err := pathrs.Reopen(h, os.O_RDONLY)
		if err != nil {
			return nil, hideHost(err)
		}
		defer func() { _ = f.Close() }()
		return io.ReadAll(io.LimitReader(f, maxEnvFile))
	}
}
