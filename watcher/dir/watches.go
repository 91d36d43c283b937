package dir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// backlog is how many events wait for the loop within the process; more wait in the kernel, which coalesces equal ones.
const backlog = 1024

// batch is what was told about each path since the last look: the last event about it that was more than a Chmod.
type batch map[string]fsnotify.Op

func (b batch) add(ev fsnotify.Event) {
	path := filepath.Clean(ev.Name) // fsnotify writes "//x" for a name in the root
	if _, ok := b[path]; !ok || ev.Op != fsnotify.Chmod {
		b[path] = ev.Op
	}
}

// inode identifies what a path led to when its watch was set; the zero inode is none.
type inode struct{ dev, ino uint64 }

// in returns the part of the batch that is about names in dir.
func (b batch) in(dir string) batch {
	part := batch{}
	for path, op := range b {
		if filepath.Dir(path) == dir {
			part[filepath.Base(path)] = op
		}
	}
	return part
}

// errElsewhere says that a path leads to another inode than the one to be watched, or to none.
var errElsewhere = errors.New("leads elsewhere by now")

// watches is one fsnotify watcher and what is watched with it: the directory, the directories on the way to it, and the
// targets of symbolic links in it. All paths are free of symbolic links, so that one inode goes by one path: fsnotify
// keeps no second path of an inode. It belongs to the goroutine of the loop.
type watches struct {
	w *fsnotify.Watcher
	// lost gets the first error of the watcher. After it, events may be missing and the watcher is to be replaced.
	lost chan error
	pump sync.WaitGroup
	// set holds what is watched, wanted the paths that the current look asked for.
	set    map[string]inode
	wanted map[string]bool
	// dir is the directory itself, hops the paths whose change can make its name lead elsewhere.
	dir   string
	hops  map[string]bool
	match func(name string) bool
}

// newWatches makes a watcher; EMFILE says that fs.inotify.max_user_instances or the limit of open files is reached.
func newWatches() (*watches, error) {
	w, err := fsnotify.NewBufferedWatcher(backlog)
	if err != nil {
		return nil, fmt.Errorf("making a file watcher: %w", err)
	}
	n := &watches{w: w, lost: make(chan error, 1), set: map[string]inode{}}
	// Errors have a receiver at all times: fsnotify sends some of them while it holds the lock that Add takes.
	n.pump.Go(func() {
		for err := range w.Errors {
			select {
			case n.lost <- err:
			default:
			}
		}
	})
	return n, nil
}

func (n *watches) close() {
	_ = n.w.Close()
	n.pump.Wait()
}

// begin starts a look: watches that it does not ask for again are dropped by end. match says which files are of interest.
func (n *watches) begin(match func(name string) bool) {
	n.dir, n.wanted, n.hops, n.match = "", map[string]bool{}, map[string]bool{}, match
}

// addHop watches for changes of one name on the way to the directory. Failures are left to the slow rescan.
func (n *watches) addHop(h hop) {
	n.hops[filepath.Join(h.dir, h.name)] = true
	if is, err := inodeAt(h.dir); err == nil {
		_, _ = n.add(h.dir, is)
	}
}

// addDir watches the directory itself. fresh says that nothing is known of what happened in it before.
func (n *watches) addDir(fd int) (fresh bool, err error) {
	n.dir, fresh, err = n.addFD(fd)
	return fresh, err
}

// addFD watches an open file and returns its path.
func (n *watches) addFD(fd int) (path string, fresh bool, err error) {
	path, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", true, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", true, os.NewSyscallError("fstat", err)
	}
	if fresh, err = n.add(path, inode{st.Dev, st.Ino}); err != nil {
		return "", true, err
	}
	return path, fresh, nil
}

// add watches a path that led to the inode a moment ago; errElsewhere if it does not any more. What is watched already is
// added again: that costs one system call, and fsnotify drops the watch of a file system that is unmounted without a word.
func (n *watches) add(path string, is inode) (fresh bool, err error) {
	was := n.set[path]
	if was != is {
		// fsnotify would leave a watch on the old inode. It fails when there is none.
		_ = n.w.Remove(path)
		delete(n.set, path)
	}
	switch err := n.w.Add(path); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return true, errElsewhere
	case err != nil:
		return true, fmt.Errorf("watching %q: %w", path, err)
	}
	n.wanted[path] = true
	if at, err := inodeAt(path); err != nil || at != is {
		n.set[path] = inode{}
		return true, errElsewhere
	}
	n.set[path] = is
	return was != is, nil
}

// keep asks for a watch of an earlier look.
func (n *watches) keep(path string) {
	if _, ok := n.set[path]; ok {
		n.wanted[path] = true
	}
}

// end drops the watches nobody asked for.
func (n *watches) end() {
	for path := range n.set {
		if !n.wanted[path] {
			_ = n.w.Remove(path)
			delete(n.set, path)
		}
	}
}

// note takes one event and says whether it asks for a look.
func (n *watches) note(ev fsnotify.Event) bool {
	path := filepath.Clean(ev.Name)
	if _, ok := n.set[path]; ok {
		if ev.Has(fsnotify.Create | fsnotify.Remove | fsnotify.Rename) {
			n.set[path] = inode{} // the path leads elsewhere, or fsnotify gave the watch up
		}
		return true
	}
	switch {
	case n.hops[path]:
		return true
	case filepath.Dir(path) != n.dir:
		return false
	case ev.Op == fsnotify.Write:
		return n.match(filepath.Base(path))
	}
	return true // names that do not match matter too: links may lead through them
}

// drain adds what was told by now, up to as much as waits within the process.
func (n *watches) drain(b batch) {
	for range backlog {
		select {
		case ev, ok := <-n.w.Events:
			if !ok {
				return
			}
			if n.note(ev) {
				b.add(ev)
			}
		default:
			return
		}
	}
}

func inodeAt(path string) (inode, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return inode{}, os.NewSyscallError("stat", err)
	}
	return inode{st.Dev, st.Ino}, nil
}
