package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Remove unmounts and deletes all volumes of a pod; its containers must be gone. It deletes by file descriptor: it never
// follows a link and never enters a mount, so nothing outside the two directories can be reached, whatever a container
// left in them (CVE-2017-1002102). A mount that cannot be taken away within seconds is an error, and what lies around it
// stays until a later call succeeds. Removing what is gone is no error.
func Remove(ctx context.Context, d Dirs) error {
	u := newUnmounter()
	var errs []error
	for _, dir := range []string{d.Memory, d.Disk} {
		if dir == "" {
			continue
		}
		err := u.below(ctx, dir)
		if err == nil {
			err = removeTree(ctx, dir)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("removing volumes: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeTree deletes dir and what is in it.
func removeTree(ctx context.Context, dir string) error {
	parent, err := os.Open(filepath.Dir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	r := remover{}
	if err := r.remove(ctx, parent, filepath.Base(dir), 0); err != nil {
		return fmt.Errorf("deleting %s: %w", dir, err)
	}
	return nil
}

const (
	// removeBatch is how many names of a directory are read at once.
	removeBatch = 1024
	// maxRemoveDepth is how many directories are held open at once. What lies deeper is moved up to the top first: a
	// container can nest directories deeper than a process may open files.
	maxRemoveDepth = 64
	// maxRemoveTries bounds how often a name is looked at that changes from a directory into something else and back.
	maxRemoveTries = 16
)

// remover is one removeTree. top is the uppermost directory while it is being emptied.
type remover struct {
	top   *os.File
	moved int
}

func (r *remover) remove(ctx context.Context, parent *os.File, name string, depth int) error {
	var err error
	for range maxRemoveTries {
		if err = r.try(ctx, parent, name, depth); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return err
		}
	}
	return err
}

// try is one look at a name. ENOTDIR and ELOOP say that what was a directory a moment ago is none any more.
func (r *remover) try(ctx context.Context, parent *os.File, name string, depth int) error {
	fd := int(parent.Fd())
	err := unix.Unlinkat(fd, name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR):
		return fmt.Errorf("%q: %w", name, err)
	}
	if depth >= maxRemoveDepth {
		r.moved++
		return unix.Renameat(fd, name, int(r.top.Fd()), fmt.Sprintf("..deep-%d", r.moved))
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	childFD, err := unix.Openat2(fd, name, &how)
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%q is still mounted", name)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %q: %w", name, err)
	}
	dir := os.NewFile(uintptr(childFD), name)
	defer func() { _ = dir.Close() }()
	if depth == 0 {
		r.top = dir
	}
	for {
		if err := r.empty(ctx, dir, depth); err != nil {
			return err
		}
		err := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("%q: %w", name, err)
		}
		// Something was moved here from below, or not all was read: look again from the beginning.
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
}

func (r *remover) empty(ctx context.Context, dir *os.File, depth int) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := dir.Readdirnames(removeBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %q: %w", dir.Name(), err)
		}
		for _, name := range names {
			if err := r.remove(ctx, dir, name, depth+1); err != nil {
				return err
			}
		}
	}
}
