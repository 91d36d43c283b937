package dir

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// dirMask leaves out IN_MODIFY on purpose: what a slow writer does before it closes the file is of no use.
	dirMask = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
		unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK
	// fileMask watches the target of a symbolic link. IN_ATTRIB comes when its name is replaced (the link count falls).
	fileMask = unix.IN_CLOSE_WRITE | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	hopMask  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR
)

// touch is one name in one watched directory; the name is empty for the watched inode itself.
type touch struct {
	wd   int32
	name string
}

// batch is what one read of the inotify queue told. moved is true for names that were renamed into place.
type batch map[touch]bool

// overflow is the touch that stands for "events were lost".
var overflow = touch{wd: -1}

// inotify is one inotify instance. All but read is for the goroutine of the loop.
type inotify struct {
	f *os.File
	// fd is f's descriptor: f.Fd() would make it blocking.
	fd int
	// watched and wanted hold the watch descriptors that exist and those that the current look asked for.
	watched, wanted map[int32]bool
	// names limits the watches on the way to the directory to the names that matter.
	names map[touch]bool
	hops  map[int32]bool
}

// newInotify makes an instance; EMFILE says that fs.inotify.max_user_instances or the limit of open files is reached.
func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &inotify{f: os.NewFile(uintptr(fd), "inotify"), fd: fd, watched: map[int32]bool{}}, nil
}

// begin starts a look: watches that it does not ask for again are dropped by end.
func (n *inotify) begin() {
	n.wanted, n.names, n.hops = map[int32]bool{}, map[touch]bool{}, map[int32]bool{}
}

// add watches the inode behind a descriptor (O_PATH is enough).
func (n *inotify) add(fd int, mask uint32) (int32, error) {
	return n.addPath("/proc/self/fd/"+strconv.Itoa(fd), mask)
}

func (n *inotify) addPath(path string, mask uint32) (int32, error) {
	// Without IN_MASK_ADD a second watch on the same inode would replace the mask of the first one.
	wd, err := unix.InotifyAddWatch(n.fd, path, mask|unix.IN_MASK_ADD)
	if err != nil {
		return -1, os.NewSyscallError("inotify_add_watch", err)
	}
	n.keep(int32(wd))
	return int32(wd), nil
}

// addHop watches for changes of one name on the way to the directory. Failures are left to the slow rescan.
func (n *inotify) addHop(h hop) {
	if wd, err := n.addPath(h.dir, hopMask); err == nil {
		n.hops[wd] = true
		n.names[touch{wd, h.name}] = true
	}
}

// keep asks for a watch of an earlier look.
func (n *inotify) keep(wd int32) { n.wanted[wd], n.watched[wd] = true, true }

// end drops the watches nobody asked for.
func (n *inotify) end() {
	for wd := range n.watched {
		if !n.wanted[wd] {
			// EINVAL: the kernel dropped it already, because its inode is gone.
			_, _ = unix.InotifyRmWatch(n.fd, uint32(wd))
			delete(n.watched, wd)
		}
	}
}

// matters says whether a batch asks for a look; dirWD is the watch of the directory itself.
func (n *inotify) matters(b batch, dirWD int32) bool {
	for t := range b {
		if t.wd == dirWD || !n.hops[t.wd] || t.name == "" || n.names[t] {
			return true
		}
	}
	return false
}

// read sends a batch per read until the instance is closed. It offers each batch to whoever receives and reads no further
// meanwhile: events wait in the kernel, which drops them beyond its limit and says so.
func (n *inotify) read(out chan<- batch, stop <-chan struct{}) {
	defer close(out)
	buf := make([]byte, 64<<10)
	for {
		k, err := n.f.Read(buf)
		if err != nil {
			return
		}
		select {
		case out <- parse(buf[:k]):
		case <-stop:
			return
		}
	}
}

// parse reads struct inotify_event records (inotify(7)).
func parse(buf []byte) batch {
	b := batch{}
	for len(buf) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(buf))
		mask := binary.NativeEndian.Uint32(buf[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[12:]))
		if end > len(buf) {
			break
		}
		if mask&unix.IN_IGNORED != 0 { // the end of a watch; what ended it has its own event
			buf = buf[end:]
			continue
		}
		t := touch{wd, string(bytes.TrimRight(buf[unix.SizeofInotifyEvent:end], "\x00"))}
		if mask&unix.IN_Q_OVERFLOW != 0 {
			t = overflow
		}
		// The last event about a name decides whether it was moved into place: what is written later is not.
		switch {
		case mask&unix.IN_MOVED_TO != 0:
			b[t] = true
		case mask&(unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_CLOSE_WRITE) != 0:
			b[t] = false
		default:
			b[t] = b[t]
		}
		buf = buf[end:]
	}
	return b
}

func (n *inotify) close() { _ = n.f.Close() }
