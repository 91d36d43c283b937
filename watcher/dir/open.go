package dir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Version tells two states of a file apart without reading it.
type Version struct {
	Dev, Ino uint64
	Size     int64
	// Mtime and Ctime are in nanoseconds since 1970.
	Mtime, Ctime int64
}

func versionOf(st *unix.Stat_t) Version {
	return Version{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}

// fault is a reason why a name in the directory cannot be used, in words for a person.
type fault struct {
	message, hint string
	// passing faults are tried again at the next look although the file did not change.
	passing bool
}

func (f *fault) Error() string { return f.message }

// errAbsent says that the name does not exist (any more).
var errAbsent = errors.New("absent")

// errHeld says that the file cannot be read yet because somebody writes it.
var errHeld = errors.New("held by a writer")

// pin resolves name in the directory without opening it for anything: O_PATH neither blocks on a FIFO nor wakes a device.
// The descriptor returned stands for that one inode, whatever the name becomes.
func pin(dirfd int, name string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := unix.Openat(dirfd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, st, pinFault(dirfd, name, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, &fault{message: fmt.Sprintf("cannot be examined: %v", err), passing: true}
	}
	if f := kindFault(st.Mode); f != nil {
		unix.Close(fd)
		return -1, st, f
	}
	return fd, st, nil
}

// pinFault says in words why a name does not lead to a file; errAbsent when there is no such name.
func pinFault(dirfd int, name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		var st unix.Stat_t
		if unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return errAbsent
		}
		return &fault{
			message: "is a symbolic link to a file that does not exist",
			hint:    "create the target or remove the link", passing: true,
		}
	case errors.Is(err, unix.ELOOP):
		return &fault{
			message: "is a symbolic link that leads back to itself",
			hint:    "point it to the manifest or remove it", passing: true,
		}
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return &fault{
			message: fmt.Sprintf("cannot be opened: %v", err),
			hint:    "raise the limit of open files (LimitNOFILE=, fs.file-max)", passing: true,
		}
	}
	return &fault{message: fmt.Sprintf("cannot be opened: %v", err), hint: "check its permissions and its disk", passing: true}
}

// kindFault refuses everything that is not a regular file.
func kindFault(mode uint32) *fault {
	var kind string
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return &fault{
			message: "is a directory, not a file",
			hint:    "directories are not read recursively: move its files up, or give the directory its own --manifests",
		}
	case unix.S_IFIFO:
		kind = "a FIFO"
	case unix.S_IFSOCK:
		kind = "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		kind = "a device"
	default:
		kind = "of an unknown kind"
	}
	return &fault{message: "is " + kind + ", not a regular file", hint: "remove it or put a regular file in its place"}
}

// open opens the pinned inode for reading. A lease of somebody else makes it errHeld.
func open(pinned int) (int, error) {
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(pinned), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return -1, errHeld
	case err != nil:
		return -1, pinFault(pinned, "", err)
	}
	return fd, nil
}

// lease says whether some process has the file open for writing, by asking for a read lease and giving it back at once.
// known is false where the file system or our rights offer no leases (NFS, FUSE, no CAP_LEASE).
//
// A writer that comes in the microsecond between waits until the lease is given back; the SIGIO that tells us so is
// ignored by Go's runtime as long as nobody asks for it with signal.Notify.
func lease(fd int) (written, known bool) {
	for {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return true, true
		case err != nil:
			return false, false
		}
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return false, true
	}
}

// readAll reads a file of the size that fstat told; a file that has another size by now is errHeld.
func readAll(fd int, size int64) ([]byte, error) {
	f := io.NewSectionReader(preader(fd), 0, size+1)
	data := make([]byte, size+1)
	n, err := io.ReadFull(f, data)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
	case err != nil:
		return nil, &fault{message: fmt.Sprintf("cannot be read: %v", err), hint: "check the disk", passing: true}
	}
	if int64(n) != size {
		return nil, errHeld
	}
	return data[:n], nil
}

// preader is a descriptor as an io.ReaderAt. It reads regular files only, so nothing of Go's poller is needed.
type preader int

func (fd preader) ReadAt(p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(int(fd), p, off)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
