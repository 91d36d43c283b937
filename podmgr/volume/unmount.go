package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	// unmountWait is how long one unmount may take before the mount is detached instead; detachWait how long that may.
	unmountWait, detachWait = 5 * time.Second, 2 * time.Second
	// busyTries and busyWait are how often and how far apart a busy mount is tried before it is detached.
	busyTries, busyWait = 5, 20 * time.Millisecond
)

// unmounter takes mounts away. The call is replaced in tests, to play a file system that does not answer.
type unmounter struct {
	unmount func(target string, flags int) error
	wait    time.Duration
}

func newUnmounter() unmounter { return unmounter{unix.Unmount, unmountWait} }

// below unmounts everything at and below dir, later mounts first. It reads the mount table only, which answers when a
// mounted server does not.
func (u unmounter) below(ctx context.Context, dir string) error {
	real, err := realDir(dir)
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	var errs []error
	for i := len(mounts) - 1; i >= 0; i-- {
		// The mount point may have been deleted under the mount, which the table says in this way.
		target := strings.TrimSuffix(mounts[i].Mountpoint, "//deleted")
		if err := u.one(ctx, target); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", target, err))
		}
	}
	return errors.Join(errs...)
}

// realDir is dir as the mount table has it. Only its parent is looked at: dir itself may be a mount that does not answer.
func realDir(dir string) (string, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if errors.Is(err, unix.ENOENT) {
		return filepath.Clean(dir), nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for mounts: %w", err)
	}
	return filepath.Join(parent, filepath.Base(dir)), nil
}

// one unmounts one mount: properly if it lets itself, else detached, so that it goes when its last user does.
func (u unmounter) one(ctx context.Context, target string) error {
	for range busyTries {
		err := u.within(ctx, u.wait, target, unix.UMOUNT_NOFOLLOW)
		if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil // no mount any more
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyWait):
		}
	}
	err := u.within(ctx, min(u.wait, detachWait), target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

var errNoAnswer = errors.New("it does not answer")

// within calls unmount with a deadline. The call cannot be interrupted, so its goroutine is left behind when it does not
// return in time; it ends when the call does.
func (u unmounter) within(ctx context.Context, wait time.Duration, target string, flags int) error {
	done := make(chan error, 1)
	go func() { done <- u.unmount(target, flags) }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errNoAnswer
	}
}
