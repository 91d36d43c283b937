package dir

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
)

const (
	// longHeld is how long a writer may keep a file open before a person is told.
	longHeld = 10 * time.Second
	// maxProblems bounds what one directory of junk can put on the board.
	maxProblems = 1000
)

var errUnmounted = errors.New("the file system that was mounted here is gone")

// problems lists all that a person has to mend, in the order of files and lines.
func (m *merger) problems() []manifests.Problem {
	ps := m.dirProblems()
	for i := range m.l.files {
		ps = append(ps, m.fileProblems(&m.l.files[i])...)
	}
	ps = append(ps, m.conflicts()...)
	slices.SortStableFunc(ps, func(a, b manifests.Problem) int {
		return cmp.Or(cmp.Compare(a.Origin.File, b.Origin.File), cmp.Compare(a.Origin.Document, b.Origin.Document),
			cmp.Compare(a.Origin.Line, b.Origin.Line))
	})
	if n := len(ps); n > maxProblems {
		// What a pod depends on is shown before what never ran.
		slices.SortStableFunc(ps, func(a, b manifests.Problem) int { return cmp.Compare(rank(a), rank(b)) })
		ps = append(ps[:maxProblems:maxProblems], manifests.Problem{
			Origin:  manifests.Origin{File: m.dir},
			Message: fmt.Sprintf("%d more problems are not listed", n-maxProblems),
			Hint:    "move files that are not manifests out of the directory",
		})
	}
	return ps
}

func rank(p manifests.Problem) int {
	if p.Kept {
		return 0
	}
	return 1
}

// dirProblems tells of the directory itself and of a removal that waits.
func (m *merger) dirProblems() []manifests.Problem {
	var ps []manifests.Problem
	dir := manifests.Origin{File: m.dir}
	if m.l.open {
		ps = append(ps, manifests.Problem{Origin: dir, Message: worldWritable, Hint: "chmod o-w " + m.dir})
	}
	byTime := map[time.Time][]string{}
	for _, k := range sortedKeys(m.next.hold) {
		if k.isPod() {
			byTime[m.next.hold[k]] = append(byTime[m.next.hold[k]], k.key.String())
		}
	}
	for until, names := range byTime {
		ps = append(ps, manifests.Problem{
			Origin: dir, Kept: true,
			Message: fmt.Sprintf("the manifests of %d pods (%s) are gone at once; the pods keep running and are removed at %s",
				len(names), few(names), until.Format("15:04:05")),
			Hint: "put the files back if this was not meant; --mass-removal-grace sets the wait",
		})
	}
	slices.SortFunc(ps, func(a, b manifests.Problem) int { return cmp.Compare(a.Message, b.Message) })
	return ps
}

const worldWritable = "is writable by everyone: every user of this machine can run programs as root through it"

// fileProblems tells of one file, and whether an earlier version of one of its pods is kept.
func (m *merger) fileProblems(f *file) []manifests.Problem {
	at := manifests.Origin{File: filepath.Join(m.dir, f.name)}
	kept := m.keptIn(f)
	var ps []manifests.Problem
	switch {
	case f.fault != nil:
		ps = append(ps, manifests.Problem{Origin: at, Message: f.fault.message, Hint: f.fault.hint, Kept: len(kept) > 0})
	case f.empty && len(f.Problems) == 0 && f.held.IsZero() && len(kept) > 0:
		ps = append(ps, manifests.Problem{
			Origin: at, Message: "is empty", Hint: "remove the file if its pods are not wanted any more", Kept: true,
		})
	}
	if !f.held.IsZero() {
		if m.now.Sub(f.held) >= longHeld {
			ps = append(ps, manifests.Problem{
				Origin:  at,
				Message: "a program keeps the file open for writing; it is read when it is closed",
				Hint:    "fuser -v " + at.File + " shows the program", Kept: m.owns(f),
			})
		} else {
			m.wake = earliest(m.wake, f.held.Add(longHeld))
		}
	}
	if f.open {
		ps = append(ps, manifests.Problem{Origin: at, Message: worldWritable, Hint: "chmod o-w " + at.File})
	}
	for _, p := range f.Problems {
		p.Kept = p.Kept || slices.ContainsFunc(kept, func(k id) bool { return m.about(p, k) })
		ps = append(ps, p)
	}
	return ps
}

// keptIn lists the keys of the file that are wanted in an earlier version.
func (m *merger) keptIn(f *file) []id {
	var ks []id
	for _, k := range sortedKeys(m.kept) {
		if m.next.claims[k].file == f.name {
			ks = append(ks, k)
		}
	}
	return ks
}

func (m *merger) owns(f *file) bool {
	for _, c := range m.next.claims {
		if c.file == f.name {
			return true
		}
	}
	return false
}

// conflicts tells of each document whose key belongs to another one.
func (m *merger) conflicts() []manifests.Problem {
	var ps []manifests.Problem
	for _, k := range sortedKeys(m.offers) {
		won, ok := m.chosen[k]
		if !ok && !m.kept[k] {
			continue // its owner is missing and about to be removed or replaced
		}
		for _, o := range m.offers[k] {
			if o == won {
				continue
			}
			ps = append(ps, m.conflict(k, o))
		}
	}
	return ps
}

// conflict tells of one document whose id belongs to another one.
func (m *merger) conflict(k id, o offer) manifests.Problem {
	p := manifests.Problem{Origin: o.origin(), Field: "metadata.name"}
	owner := m.next.claims[k].origin()
	if o.config != nil {
		p.Config = o.config.ConfigKey
		p.Message = fmt.Sprintf("conflict: the %s is already defined in %s, which stays in use", o.config.ConfigKey, owner)
	} else {
		p.Pod = k.key
		p.Message = fmt.Sprintf("conflict: the pod %q is already defined in %s, which keeps running", k.key, owner)
	}
	p.Hint = "give one of the two another name, or remove it; this one takes over when the other goes"
	return p
}

// unknownProblem tells that the directory itself cannot be read.
func unknownProblem(dir string, err error, pods int) manifests.Problem {
	p := manifests.Problem{Origin: manifests.Origin{File: dir}, Kept: pods > 0}
	switch {
	case errors.Is(err, errUnmounted):
		p.Message, p.Hint = err.Error(), "mount it again, or remove the manifests before unmounting"
	case errors.Is(err, unix.ENOENT):
		p.Message, p.Hint = "the directory does not exist", "create it, or move it back"
	case errors.Is(err, unix.ENOTDIR):
		p.Message, p.Hint = "is not a directory", "--manifests names directories: put the file into one"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		p.Message, p.Hint = fmt.Sprintf("the directory cannot be read: %v", err), "raise the limit of open files (LimitNOFILE=, fs.file-max)"
	default:
		p.Message, p.Hint = fmt.Sprintf("the directory cannot be read: %v", err), "check its permissions, its disk and its mount"
	}
	if pods > 0 {
		p.Message += "; what was wanted before keeps running"
	}
	return p
}

func tooLarge(size, limit int64) string {
	return fmt.Sprintf("is too large: %d bytes, the limit is %d", size, limit)
}

// few joins names, the first three of many.
func few(names []string) string {
	if len(names) > 3 {
		names = append(names[:3:3], "…")
	}
	return strings.Join(names, ", ")
}
