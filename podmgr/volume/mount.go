package volume

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountOnce mounts a file system without a device on dir, unless something is mounted there.
func mountOnce(dir, kind, options string, flags uintptr) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating its mount point: %w", err)
	}
	mounted, err := IsMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount(kind, dir, kind, flags, options); err != nil {
		return fmt.Errorf("mounting a %s: %w", kind, err)
	}
	return nil
}

// IsMountPoint says whether something is mounted on dir. It asks the mount table, so that it answers when what is mounted does not.
func IsMountPoint(dir string) (bool, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir)) // the table has no links in its paths
	if err != nil {
		return false, fmt.Errorf("looking for a mount: %w", err)
	}
	found, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(filepath.Join(parent, filepath.Base(dir))))
	if err != nil {
		return false, fmt.Errorf("reading the mount table: %w", err)
	}
	return len(found) > 0, nil
}
