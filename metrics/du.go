package metrics

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

// usage is what a directory takes on its disk.
type usage struct {
	bytes, inodes uint64
}

func (u usage) add(o usage) usage {
	return usage{bytes: u.bytes + o.bytes, inodes: u.inodes + o.inodes}
}

const (
	statBlock = 512 // bytes in a block of stat(2), whatever the filesystem's are
	duBatch   = 256 // directory entries held at once: a directory with a million files must not be one in memory
)

// du adds up what lies below dir on dir's own filesystem: blocks, not lengths, and a file with several names once. What
// vanishes meanwhile counts nothing; a directory that is not there is an error for which errors.Is(err, fs.ErrNotExist).
func du(ctx context.Context, dir string) (usage, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return usage{}, fmt.Errorf("measuring %s: %w", dir, err)
	}
	w := duWalk{dev: st.Dev, linked: map[uint64]struct{}{}}
	w.count(&st)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := w.enter(ctx, dir); err != nil {
			return usage{}, fmt.Errorf("measuring %s: %w", dir, err)
		}
	}
	return w.sum, nil
}

type duWalk struct {
	dev    uint64
	linked map[uint64]struct{} // inodes with several names that are counted already
	sum    usage
}

func (w *duWalk) count(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, seen := w.linked[st.Ino]; seen {
			return
		}
		w.linked[st.Ino] = struct{}{}
	}
	w.sum.bytes += uint64(st.Blocks) * statBlock
	w.sum.inodes++
}

// enter counts the entries of a directory, batch by batch; subdirectories after it is closed, so that a deep tree does
// not use up the descriptors.
func (w *duWalk) enter(ctx context.Context, dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return ignoreGone(err)
	}
	var below []string
	for {
		names, err := f.Readdirnames(duBatch)
		for _, name := range names {
			path := filepath.Join(dir, name)
			var st unix.Stat_t
			if unix.Lstat(path, &st) != nil || st.Dev != w.dev {
				continue // gone, or another filesystem's
			}
			w.count(&st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				below = append(below, path)
			}
		}
		if err != nil || ctx.Err() != nil {
			_ = f.Close()
			if err != nil && !errors.Is(err, io.EOF) {
				return ignoreGone(err)
			}
			break
		}
	}
	for _, d := range below {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.enter(ctx, d); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// filesystem is the state of the filesystem that holds a directory.
type filesystem struct {
	capacity, available, free uint64 // bytes; available to those who are not root
	inodes, inodesFree        uint64
}

func statFilesystem(dir string) (filesystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return filesystem{}, fmt.Errorf("reading the filesystem of %s: %w", dir, err)
	}
	block := uint64(st.Frsize)
	if block == 0 {
		block = uint64(st.Bsize)
	}
	return filesystem{
		capacity: st.Blocks * block, available: st.Bavail * block, free: st.Bfree * block,
		inodes: st.Files, inodesFree: st.Ffree,
	}, nil
}

// used is all that is taken on it, by whomever.
func (f filesystem) used() usage {
	return usage{bytes: f.capacity - f.free, inodes: f.inodes - f.inodesFree}
}
