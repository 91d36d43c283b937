package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// place identifies the directory that was listed. The birth time is part of it because file systems reuse inode numbers
// at once: a directory that is deleted and made anew often has the same one.
type place struct {
	dev, ino uint64
	birth    int64 // nanoseconds; 0 where the file system does not tell
	mount    bool  // it is the root of a mount
}

// zero says that no directory was ever seen.
func (p place) zero() bool { return p.ino == 0 }

// placeOf examines an open directory.
func placeOf(fd int) (place, uint32, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return place{}, 0, fmt.Errorf("examining the directory: %w", err)
	}
	return place{
		dev:   unix.Mkdev(st.Dev_major, st.Dev_minor),
		ino:   st.Ino,
		birth: st.Btime.Sec*1e9 + int64(st.Btime.Nsec),
		mount: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
	}, uint32(st.Mode), nil
}

// remote says whether files of this directory may change without the kernel here knowing of it.
func remote(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC,
		0x0BD00BD0 /* Lustre */, 0x786F4256 /* vboxsf */ :
		return true
	}
	return false
}

// hop is one name whose change can make a path lead elsewhere.
type hop struct{ dir, name string }

// hops walks an absolute path and lists its last name and every symbolic link met on the way; where the path ends
// early, the name that is missing.
func hops(path string) []hop {
	var hs []hop
	at, rest := "/", split(path)
	for links := 0; len(rest) > 0 && links <= 40; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		fi, err := os.Lstat(next)
		switch {
		case err != nil:
			return append(hs, hop{at, name})
		case fi.Mode()&os.ModeSymlink != 0:
			hs = append(hs, hop{at, name})
			links++
			target, err := os.Readlink(next)
			if err != nil {
				return hs
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(split(target), rest...)
		case len(rest) == 0:
			hs = append(hs, hop{at, name})
		default:
			at = next
		}
	}
	return hs
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
