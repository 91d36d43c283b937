package dir

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// still is how long a file has to be unchanged where the file system cannot tell whether it is being written.
	still = 200 * time.Millisecond
	// arrival is how long a file has to be unchanged that came into its place complete, though somebody has it open.
	arrival = 30 * time.Millisecond
	// firstRetry and lastRetry bound the wait before a file held by a writer is tried again: no event tells that it was
	// closed. The wait doubles until the next event about it.
	firstRetry, lastRetry = 10 * time.Millisecond, 300 * time.Millisecond
	// faultRetry is the wait before a name with a passing fault is tried again.
	faultRetry = time.Second
	// racy is the age below which a file may change again without its time stamps showing it (one tick of the kernel).
	racy = 100 * time.Millisecond
)

// listing is what one look at the directory found. It is plain data for merge.
type listing struct {
	// unknown is set when the directory could not be read as a whole: then nothing else is.
	unknown error
	place   place
	open    bool // the directory is writable by everyone
	files   []file
	// retry is when a file that was not settled has to be looked at again; zero for never.
	retry time.Time
	// blind says that changes come without events here (a network file system).
	blind bool
}

// file is one name in the directory that matches. The zero Version means that it was never read.
type file struct {
	name    string
	version Version
	link    bool
	open    bool // writable by everyone
	empty   bool // no bytes but white space and NULs
	fault   *fault
	// held is when a writer was first seen on a version newer than the one described here; zero when there is none.
	held time.Time
	manifests.Documents
}

// entry is what the scanner remembers of a name.
type entry struct {
	file
	seen Version // the version that was concluded about, readable or not
	sum  [sha256.Size]byte
	// target is the path watched behind a symbolic link; empty for none.
	target string
	// arrived says that the name was created with content and that no write to it was told of since: it was renamed or
	// linked into its place. Never so for a symbolic link: its target may have been written unwatched.
	arrived bool

	again   time.Time // when a version that may be racy is read once more
	next    Version   // the version that is waited for
	since   time.Time // when next was first seen
	tries   int
	retryAt time.Time
}

// scanner looks at one directory and remembers what it saw, so that an unchanged file costs one stat.
// It belongs to the goroutine of its loop.
type scanner struct {
	dir   string
	match func(name string) bool
	max   int64 // bytes; 0 for any size
	// decode reads a settled file; nil when only its being there matters.
	decode func(path string, data []byte) manifests.Documents
	// lease is replaced in tests to play a file system without leases.
	lease func(fd int) (written, known bool)

	entries map[string]*entry
	blindAt place
	blind   bool
}

func newScanner(dir string, match func(string) bool) *scanner {
	return &scanner{dir: dir, match: match, lease: lease, entries: map[string]*entry{}}
}

// scan looks at the directory. Watches are set before names are read, so that whatever changes during the scan asks for
// another one. touched holds the events since the last scan; notes may be nil.
func (s *scanner) scan(now time.Time, touched batch, notes *watches) (listing, error) {
	var l listing
	var warn error
	if notes != nil {
		notes.begin(s.match)
		for _, h := range hops(s.dir) {
			notes.addHop(h)
		}
		defer notes.end()
	}
	fd, err := unix.Open(s.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		l.unknown = err
		return l, nil
	}
	d := os.NewFile(uintptr(fd), s.dir)
	defer d.Close()
	var mode uint32
	if l.place, mode, l.unknown = placeOf(fd); l.unknown != nil {
		return l, nil
	}
	l.open = mode&0o002 != 0
	if s.blindAt != l.place {
		s.blindAt, s.blind = l.place, remote(fd)
	}
	l.blind = s.blind
	var told batch
	fresh := true
	if notes != nil {
		fresh, warn = notes.addDir(fd)
		told = touched.in(notes.dir)
		if errors.Is(warn, errElsewhere) {
			l.blind, warn = true, nil
		}
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		l.unknown = err
		return l, warn
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !s.match(n) })
	slices.Sort(names)
	found := make(map[string]*entry, len(names))
	for _, name := range names {
		e := s.entries[name]
		if e == nil {
			e = &entry{file: file{name: name}}
		}
		op, was := told[name]
		if !was && e.target != "" {
			_, was = touched[e.target]
		}
		if was {
			e.tries = 0
		}
		switch {
		case fresh, op.Has(fsnotify.Write | fsnotify.Remove | fsnotify.Rename):
			e.arrived = false
		case op.Has(fsnotify.Create):
			e.arrived = true
		}
		if !s.look(fd, e, now, notes) {
			continue
		}
		found[name] = e
		l.files = append(l.files, e.file)
		l.retry = earliest(l.retry, e.retryAt)
	}
	s.entries = found
	return l, warn
}

// look brings an entry up to date; false when the name is gone.
func (s *scanner) look(dirfd int, e *entry, now time.Time, notes *watches) bool {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, e.name, &st, 0); err == nil && versionOf(&st) == e.seen &&
		(e.again.IsZero() || now.Before(e.again)) {
		e.held, e.retryAt = time.Time{}, e.again
		if notes != nil && e.target != "" && e.fault == nil {
			notes.keep(e.target)
		}
		return true
	}
	e.again = time.Time{}
	err := s.examine(dirfd, e, now, notes)
	var f *fault
	switch {
	case err == nil:
		e.fault, e.held, e.retryAt = nil, time.Time{}, e.again
		e.arrived = e.arrived && !e.again.IsZero() // for the second reading; a later version has to show it anew
	case errors.Is(err, errAbsent):
		return false
	case errors.Is(err, errHeld):
		if e.held.IsZero() {
			e.held = now
		}
	case errors.As(err, &f):
		if f.passing {
			e.seen = Version{}
		}
		e.sum = [sha256.Size]byte{}
		e.fault, e.held, e.retryAt = f, time.Time{}, time.Time{}
		e.Documents = manifests.Documents{}
		if f.passing {
			e.retryAt = now.Add(faultRetry)
		}
	}
	return true
}

// examine opens a name that is new or changed, and reads it when nobody writes it.
func (s *scanner) examine(dirfd int, e *entry, now time.Time, notes *watches) error {
	var ls unix.Stat_t
	if err := unix.Fstatat(dirfd, e.name, &ls, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return pinFault(dirfd, e.name, err)
	}
	pinned, st, err := pin(dirfd, e.name)
	if err != nil {
		e.seen = versionOf(&ls)
		return err
	}
	defer unix.Close(pinned)
	elsewhere := false
	e.link, e.target = ls.Mode&unix.S_IFMT == unix.S_IFLNK, ""
	if e.link && notes != nil {
		e.target, _, err = notes.addFD(pinned)
		elsewhere = errors.Is(err, errElsewhere)
	}
	e.arrived = e.arrived && !e.link && st.Size > 0
	e.open = st.Mode&0o002 != 0
	v := versionOf(&st)
	if s.max > 0 && st.Size > s.max {
		e.seen = v
		return &fault{message: tooLarge(st.Size, s.max), hint: "split it, or move what is not a manifest elsewhere"}
	}
	fd, err := open(pinned)
	if err != nil {
		return s.hold(e, v, err, now)
	}
	defer unix.Close(fd)
	if !s.settled(fd, e, v, now) {
		return s.hold(e, v, errHeld, now)
	}
	young := e.seen != v
	if err := s.take(fd, e, v, now); err != nil {
		return s.hold(e, v, err, now)
	}
	if elsewhere && young {
		e.again = now.Add(racy)
	}
	return nil
}

// settled says whether the version is to be read: nobody writes the file, or it came into its place complete.
func (s *scanner) settled(fd int, e *entry, v Version, now time.Time) bool {
	written, known := s.lease(fd)
	switch {
	case known && !written:
		return true
	case e.arrived:
		return e.seen == v || e.next == v && now.Sub(e.since) >= arrival
	}
	return !known && e.next == v && now.Sub(e.since) >= still
}

// take reads a settled file, and takes it only if it did not change meanwhile.
func (s *scanner) take(fd int, e *entry, v Version, now time.Time) error {
	var data []byte
	if s.decode != nil {
		var err error
		if data, err = readAll(fd, v.Size); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || versionOf(&st) != v {
			return errHeld
		}
		if written, _ := s.lease(fd); written && !e.arrived {
			return errHeld
		}
		if age := now.UnixNano() - max(v.Ctime, v.Mtime); age > -int64(racy) && age < int64(racy) && e.seen != v {
			e.again = now.Add(racy)
		}
		if sum := sha256.Sum256(data); sum != e.sum || e.version == (Version{}) {
			e.sum, e.empty = sum, blank(data)
			e.Documents = s.decode(filepath.Join(s.dir, e.name), data)
		}
	}
	e.seen, e.version, e.tries, e.next = v, v, 0, Version{}
	return nil
}

// hold notes that version v is still being written, and when to try again.
func (s *scanner) hold(e *entry, v Version, err error, now time.Time) error {
	if !errors.Is(err, errHeld) {
		return err
	}
	if e.next != v {
		e.next, e.since = v, now
	}
	e.retryAt = now.Add(min(firstRetry<<min(e.tries, 12), lastRetry))
	e.tries++
	return errHeld
}

// blank says whether a file holds nothing: white space, or the NULs that a power cut leaves.
func blank(data []byte) bool {
	return !slices.ContainsFunc(data, func(c byte) bool { return c != 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n' })
}

// forgetWatches makes the next scan watch the targets of symbolic links anew: the watcher that did is gone.
func (s *scanner) forgetWatches() {
	for _, e := range s.entries {
		if e.target = ""; e.link {
			e.seen = Version{}
		}
	}
}

// earliest returns the earlier of two times; zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
