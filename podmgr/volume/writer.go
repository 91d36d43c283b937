package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"edgepod.dev/agent/manifests"
)

const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"

	// settle is how long the files before a swap stay, for a program that has just read the link to them.
	settle = 5 * time.Millisecond
)

// writer swaps the files of a volume at once, by the protocol that programs which watch such volumes know from the
// kubelet (pkg/volume/util AtomicWriter): the files lie in a directory with a time in its name, ..data is a link to it,
// and the names that users see are links through ..data. One rename of ..data changes all of them. What a crash leaves
// behind is cleared by the next write.
type writer struct {
	dir string
	gid int // fsGroup; -1 for none
}

func (w writer) write(files map[string]manifests.File) error {
	old, err := os.Readlink(filepath.Join(w.dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the link to the files: %w", err)
	}
	current := old
	if old == "" || !w.holds(filepath.Join(w.dir, old), files) {
		if current, err = w.stage(files); err != nil {
			return err
		}
		if err := w.swap(current); err != nil {
			return err
		}
		if old != "" {
			time.Sleep(settle)
		}
	}
	if err := w.link(files); err != nil {
		return err
	}
	return w.sweep(files, current)
}

// holds says whether a directory has exactly these files, with these modes.
func (w writer) holds(dir string, files map[string]manifests.File) bool {
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := files[name]
		st, err := d.Info()
		if err != nil || !ok || st.Mode() != w.mode(f) || !ownedBy(st, f.UID) {
			return errors.Join(err, fs.ErrInvalid)
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, f.Data) {
			return errors.Join(err, fs.ErrInvalid)
		}
		count++
		return nil
	})
	return err == nil && count == len(files)
}

// mode is a file's mode; the group that fsGroup names may read it.
func (w writer) mode(f manifests.File) os.FileMode {
	mode := os.FileMode(f.Mode) & os.ModePerm //nolint:gosec // validated to be 0 to 0777
	if w.gid >= 0 {
		mode |= 0o440
	}
	return mode
}

// stage writes the files beside those in use and returns the name of their directory.
func (w writer) stage(files map[string]manifests.File) (name string, err error) {
	dir, err := os.MkdirTemp(w.dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return "", fmt.Errorf("creating a directory for the files: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	dirs := map[string]bool{dir: true, w.dir: true}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if !strings.HasPrefix(path, dir+"/") {
			return "", fmt.Errorf("the path %q leads out of the volume", name)
		}
		for d := filepath.Dir(path); !dirs[d]; d = filepath.Dir(d) {
			dirs[d] = true
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", fmt.Errorf("creating a directory for the file %q: %w", name, err)
		}
		if err := w.file(path, files[name]); err != nil {
			return "", fmt.Errorf("writing the file %q: %w", name, err)
		}
	}
	for d := range dirs {
		if err := w.own(d, 0o755, os.ModeSetgid|0o775); err != nil {
			return "", fmt.Errorf("opening a directory: %w", err)
		}
	}
	return filepath.Base(dir), nil
}

func (w writer) file(path string, f manifests.File) error {
	// Nobody but root may read it before it has its mode.
	if err := os.WriteFile(path, f.Data, 0o600); err != nil {
		return err
	}
	if f.UID != 0 {
		if err := os.Lchown(path, int(f.UID), -1); err != nil {
			return err
		}
	}
	return w.own(path, w.mode(f), w.mode(f))
}

func ownedBy(st fs.FileInfo, uid int64) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && int64(s.Uid) == uid
}

// own gives a file its mode, and with fsGroup its group and the other mode.
func (w writer) own(path string, mode, groupMode os.FileMode) error {
	if w.gid >= 0 {
		if err := os.Lchown(path, -1, w.gid); err != nil {
			return err
		}
		mode = groupMode
	}
	return os.Chmod(path, mode)
}

// swap makes ..data lead to another directory.
func (w writer) swap(name string) error {
	next := filepath.Join(w.dir, dataLinkNew)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clearing the link of an earlier write: %w", err)
	}
	if err := os.Symlink(name, next); err != nil {
		return fmt.Errorf("linking the files: %w", err)
	}
	if err := os.Rename(next, filepath.Join(w.dir, dataLink)); err != nil {
		return fmt.Errorf("swapping the files: %w", err)
	}
	return nil
}

// visible lists the names in the root of the volume that users see.
func visible(files map[string]manifests.File) map[string]bool {
	names := map[string]bool{}
	for path := range files {
		name, _, _ := strings.Cut(path, "/")
		names[name] = true
	}
	return names
}

func (w writer) link(files map[string]manifests.File) error {
	for name := range visible(files) {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(w.dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("linking a file: %w", err)
		}
	}
	return nil
}

// sweep removes links to files that are gone and directories that are not in use. Mount points stay.
func (w writer) sweep(files map[string]manifests.File, current string) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return fmt.Errorf("reading the volume: %w", err)
	}
	names := visible(files)
	for _, e := range entries {
		path := filepath.Join(w.dir, e.Name())
		stale := e.Type() == fs.ModeSymlink && e.Name() != dataLink && !names[e.Name()] ||
			e.IsDir() && strings.HasPrefix(e.Name(), "..") && e.Name() != current
		if stale {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("removing old files: %w", err)
			}
		}
	}
	return nil
}
