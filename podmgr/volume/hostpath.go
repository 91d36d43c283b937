package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// ensureHostPath checks or makes the path as spec.volumes[].hostPath.type asks (kubelet: pkg/volume/hostpath).
func ensureHostPath(v v1.Volume) error {
	path, kind := v.HostPath.Path, v1.HostPathUnset
	if v.HostPath.Type != nil {
		kind = *v.HostPath.Type
	}
	fail := func(what string) error {
		return fmt.Errorf("volume %q: hostPath %s is not %s", v.Name, path, what)
	}
	st, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("volume %q: looking at hostPath: %w", v.Name, err)
	}
	exists := err == nil
	switch kind {
	case v1.HostPathUnset:
		if !exists {
			// As Docker and containerd do for a bind mount without a type.
			if err := os.MkdirAll(path, 0o755); err != nil {
				return fmt.Errorf("volume %q: creating hostPath: %w", v.Name, err)
			}
		}
	case v1.HostPathDirectoryOrCreate:
		if !exists {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return fmt.Errorf("volume %q: creating hostPath: %w", v.Name, err)
			}
		} else if !st.IsDir() {
			return fail("a directory")
		}
	case v1.HostPathDirectory:
		if !exists || !st.IsDir() {
			return fail("an existing directory")
		}
	case v1.HostPathFileOrCreate:
		if !exists {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o644)
			if err != nil {
				return fmt.Errorf("volume %q: creating hostPath: %w", v.Name, err)
			}
			return f.Close()
		} else if !st.Mode().IsRegular() {
			return fail("a regular file")
		}
	case v1.HostPathFile:
		if !exists || !st.Mode().IsRegular() {
			return fail("an existing regular file")
		}
	case v1.HostPathSocket:
		if !exists || st.Mode()&fs.ModeSocket == 0 {
			return fail("a socket")
		}
	case v1.HostPathCharDev:
		if !exists || st.Mode()&fs.ModeCharDevice == 0 {
			return fail("a character device")
		}
	case v1.HostPathBlockDev:
		if !exists || st.Mode()&fs.ModeDevice == 0 || st.Mode()&fs.ModeCharDevice != 0 {
			return fail("a block device")
		}
	default:
		return fmt.Errorf("volume %q: hostPath type %q is unknown", v.Name, kind)
	}
	return nil
}
