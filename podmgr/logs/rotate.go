package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// rotated is a file that was rotated.
type rotated struct {
	stamp string // orders the files, oldest first
	gz    bool
}

// listRotated returns the rotated files of the log called base among the names of its directory, oldest first. Where a
// crash left a file both plain and compressed, the plain one counts.
func listRotated(base string, names []string) []rotated {
	var list []rotated
	for _, n := range names {
		if s := rotatedStamp(base, n); s != "" {
			list = append(list, rotated{stamp: s, gz: strings.HasSuffix(n, gzSuffix)})
		}
	}
	slices.SortFunc(list, func(a, b rotated) int {
		if c := strings.Compare(a.stamp, b.stamp); c != 0 || a.gz == b.gz {
			return c
		}
		if b.gz {
			return -1
		}
		return 1
	})
	return slices.CompactFunc(list, func(a, b rotated) bool { return a.stamp == b.stamp })
}

// names lists the files beside the log.
func (w *Writer) names() []string {
	dir, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	return names
}

// tidy removes what a crash left of an earlier Writer and learns the newest rotated file. Only NewWriter calls it.
func (w *Writer) tidy() {
	base := filepath.Base(w.path)
	names := w.names()
	for _, n := range names {
		s, ok := strings.CutSuffix(n, gzSuffix+tmpSuffix)
		if ok && rotatedStamp(base, s) != "" {
			_ = os.Remove(filepath.Join(filepath.Dir(w.path), n))
		}
	}
	list := listRotated(base, names)
	if len(list) > 0 {
		w.current.stamp = list[len(list)-1].stamp
	}
	w.prune(list, w.maxFiles-1)
}

// prune removes the oldest rotated files until keep are left.
func (w *Writer) prune(list []rotated, keep int) []rotated {
	for len(list) > max(keep, 0) {
		name := w.path + "." + list[0].stamp
		_ = os.Remove(name)
		_ = os.Remove(name + gzSuffix)
		list = list[1:]
	}
	return list
}

// A file that fills in less than this is of a flood: it is deleted so soon that compressing it would only take the CPU that
// the application and its readers need. Below a size that costs nothing.
const (
	floodSize = 1 << 20
	floodTime = 2 * time.Second
)

// rotate renames the file away and begins a new one. The caller holds mu.
func (w *Writer) rotate() error {
	// Make room first: on a full disk that is what lets the new file be created, and the bound on all files holds at
	// every moment.
	list := w.prune(listRotated(filepath.Base(w.path), w.names()), w.maxFiles-2)
	stamp := nextStamp(w.current.stamp, time.Now())
	flood := w.current.size >= floodSize && time.Since(w.current.began) < floodTime
	if err := w.swap(stamp); err != nil {
		return err
	}
	w.current.stamp = stamp
	if w.maxFiles == 1 {
		_ = os.Remove(w.path + "." + stamp)
		return nil
	}
	// The newest rotated file stays plain: log shippers are still reading it. The one before it is compressed.
	if n := len(list); n > 0 && !list[n-1].gz && !flood {
		w.compress(list[n-1].stamp)
	}
	return nil
}

// swap puts a new file in the place of the current one, in one step for readers that list the files.
func (w *Writer) swap(stamp string) error {
	w.topic.rotation.Lock()
	defer w.topic.rotation.Unlock()
	name := w.path + "." + stamp
	if err := os.Rename(w.path, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotating log: %w", err)
	}
	_ = w.current.file.Close()
	w.current.file, w.current.size = nil, 0
	w.topic.rotated(filepath.Base(name))
	return w.open()
}

// nextStamp returns the stamp for a file rotated now. It is later than last even when the clock went back or several
// files are rotated in one second.
func nextStamp(last string, now time.Time) string {
	stamp := now.UTC().Format(rotatedLayout)
	if stamp > last {
		return stamp
	}
	second, number, _ := strings.Cut(last, ".")
	n := 0
	for _, c := range number {
		n = n*10 + int(c-'0')
	}
	if n < 9999 {
		return fmt.Sprintf("%s.%04d", second, n+1)
	}
	t, err := time.Parse(rotatedLayout, second)
	if err != nil {
		return stamp
	}
	return t.Add(time.Second).Format(rotatedLayout)
}
