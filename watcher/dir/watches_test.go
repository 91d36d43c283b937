package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestLostEventsAreMadeUpFor(t *testing.T) {
	var shut atomic.Bool
	reached, gate := make(chan struct{}), make(chan struct{})
	r := newRig(t, config(tempDir(t)), func(s *Source) {
		match := s.loop.scanner.match
		s.loop.scanner.match = func(n string) bool { // called when the names were read
			if shut.CompareAndSwap(true, false) {
				close(reached)
				<-gate
			}
			return match(n)
		}
	})
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	r.still(500 * time.Millisecond) // until nothing but events asks for a look
	shut.Store(true)
	r.write("poke", "")
	<-reached
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	var n int
	_, err = fmt.Sscan(string(limit), &n)
	must(t, err)
	neighbour := filepath.Join(filepath.Dir(r.dir), "x")
	for i := range n/2 + 4000 { // two events each that ask for no look, and what is read ahead of the loop
		must(t, unix.Mknod(fmt.Sprint(neighbour, i), unix.S_IFREG, 0))
		must(t, os.Remove(fmt.Sprint(neighbour, i)))
	}
	r.drop("db.yaml", manifest("db", "v1"))
	close(gate)
	r.want("db=v1 web=v1")
	r.drop("db.yaml", manifest("db", "v2"))
	r.want("db=v2 web=v1")
}

// kernelWatches counts the inotify watches of this process.
func kernelWatches(t *testing.T) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fdinfo/*")
	must(t, err)
	n := 0
	for _, fd := range fds {
		info, _ := os.ReadFile(fd) // it may be closed by now
		n += strings.Count(string(info), "inotify wd:")
	}
	return n
}

func TestADirectoryReplacedAgainAndAgainStaysWatched(t *testing.T) {
	base := t.TempDir()
	sub := filepath.Join(base, "sub")
	cfg := config(filepath.Join(sub, "manifests"))
	cfg.StoreDir = filepath.Join(base, "store")
	r := newRig(t, cfg)
	r.drop("web.yaml", manifest("web", "v0"))
	r.want("web=v0")
	watches := kernelWatches(t)
	if watches != 2 { // the directory and its parent
		t.Errorf("%d watches", watches)
	}
	for i := range 300 {
		old := filepath.Join(base, fmt.Sprint("old", i))
		switch i % 3 {
		case 0: // the old one lives on
			must(t, os.Rename(r.dir, old))
		case 1:
			must(t, os.Rename(r.dir, old))
			must(t, os.RemoveAll(old))
		case 2: // so does this one, but without having been moved itself
			must(t, os.Rename(sub, old))
		}
		must(t, os.MkdirAll(r.dir, 0o755))
		r.write("web.yaml", manifest("web", fmt.Sprint("v", i)))
		r.next(time.Duration(i%4) * 5 * time.Millisecond)
	}
	r.want("web=v299")
	r.still(2 * racy)
	r.write("web.yaml", manifest("web", "last"))
	r.want("web=last")
	if n := kernelWatches(t); n != watches {
		t.Errorf("%d watches, before there were %d", n, watches)
	}
}

func TestAnEventAsksForALookWhereItMatters(t *testing.T) {
	const create, write, chmod, rename = fsnotify.Create, fsnotify.Write, fsnotify.Chmod, fsnotify.Rename
	tests := []struct {
		name, path string
		op         fsnotify.Op
		want, gone bool // gone: the path is watched anew at the next look
	}{
		{"a manifest is written", "/etc/m/web.yaml", write, true, false},
		{"something else is written", "/etc/m/notes", write, false, false},
		{"a link that manifests lead through is swapped", "/etc/m/..data", create, true, false},
		{"rights in the directory change", "/etc/m/sub", chmod, true, false},
		{"the directory itself is moved", "/etc/m", rename, true, true},
		{"rights of the directory change", "/etc/m", chmod, true, false},
		{"a neighbour of the directory comes", "/etc/n", create, false, false},
		{"a link on the way in the root is swapped", "//conf", create, true, false},
		{"the target of a link is written", "/srv/web", write, true, false},
		{"the target of a link is replaced", "/srv/web", create, true, true},
		{"a neighbour of the target is written", "/srv/db", write, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &watches{
				dir: "/etc/m", hops: map[string]bool{"/etc/m": true, "/conf": true}, match: isManifest,
				set: map[string]inode{"/etc/m": {1, 1}, "/etc": {1, 2}, "/srv/web": {1, 3}},
			}
			if got := n.note(fsnotify.Event{Name: tt.path, Op: tt.op}); got != tt.want {
				t.Errorf("asks for a look: %v", got)
			}
			if is, ok := n.set[tt.path]; ok && (is == inode{}) != tt.gone {
				t.Errorf("watched anew: %v", is == inode{})
			}
		})
	}
}

func TestTheLastEventAboutANameCounts(t *testing.T) {
	b := batch{}
	for _, ev := range []fsnotify.Event{
		{Name: "/m/a", Op: fsnotify.Create},
		{Name: "/m/a", Op: fsnotify.Chmod},
		{Name: "/m/b", Op: fsnotify.Create},
		{Name: "/m/b", Op: fsnotify.Write},
		{Name: "/m/c", Op: fsnotify.Chmod},
		{Name: "/m", Op: fsnotify.Rename},
		{Name: "//m/d", Op: fsnotify.Remove},
	} {
		b.add(ev)
	}
	want := batch{"a": fsnotify.Create, "b": fsnotify.Write, "c": fsnotify.Chmod, "d": fsnotify.Remove}
	if diff := cmp.Diff(want, b.in("/m")); diff != "" {
		t.Error(diff)
	}
}
