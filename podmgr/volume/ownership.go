package volume

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ownTree gives a volume to a group as the kubelet does for fsGroup (SetVolumeOwnership): chgrp, g+rw, and for directories
// g+x and the set-group-ID bit, so that what is made in them belongs to the group too. The root comes last: one that has
// the group is done, and what lies in it is the pod's. Every file is taken by descriptor; no link is followed, since a
// container may be at work in the volume.
func ownTree(dir string, gid int) error { return own(dir, gid, true) }

// ownWhole is ownTree that looks at every file, whatever its root says.
func ownWhole(dir string, gid int) error { return own(dir, gid, false) }

func own(dir string, gid int, trustRoot bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", dir, err)
	}
	root := os.NewFile(uintptr(fd), dir)
	defer func() { _ = root.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if trustRoot && int(st.Gid) == gid && st.Mode&unix.S_ISGID != 0 {
		return nil
	}
	if err := ownDir(root, gid); err != nil {
		return fmt.Errorf("giving %s to group %d: %w", dir, gid, err)
	}
	return nil
}

func ownDir(d *os.File, gid int) error {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ownEntry(d, name, gid); err != nil && err != unix.ENOENT { //nolint:errorlint // a bare errno
			return err
		}
	}
	return ownFile(int(d.Fd()), gid)
}

func ownEntry(parent *os.File, name string, gid int) error {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		d := os.NewFile(uintptr(fd), name)
		defer func() { _ = d.Close() }()
		return ownDir(d, gid)
	}
	fd, err = unix.Openat(int(parent.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return ownFile(fd, gid)
}

func ownFile(fd, gid int) error {
	if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	mode := st.Mode&0o7777 | 0o660
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return nil // has no mode of its own
	case unix.S_IFDIR:
		mode |= unix.S_ISGID | 0o110
	}
	return unix.Fchmodat(unix.AT_FDCWD, procFD(fd), mode, 0)
}

// procFD is a path that leads to an open file whatever its name is by now.
func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
