package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MountCommand is the command of the agent's program that is a mounter's child; see MountHere.
const MountCommand = "__mount-nfs"

// mounter mounts in a child process: a mount whose server falls silent ends when its process is killed, while a thread of the
// agent would wait in the kernel for as long as the server is away. The child dies with the agent.
type mounter struct {
	program string
	wait    time.Duration
}

// newMounter has the running program itself for a child, also when its file was replaced meanwhile.
func newMounter() mounter { return mounter{"/proc/self/exe", nfsMount} }

// mount returns the errno of mount(2), or that there was no answer in time; nothing is mounted then.
func (m mounter) mount(ctx context.Context, source, dir string, flags uintptr, options string) error {
	const reap = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, m.wait)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.Command(m.program, MountCommand, source, dir, strconv.FormatUint(uint64(flags), 10), options) //nolint:noctx,gosec // ourselves; killed below
	cmd.Stdout, cmd.WaitDelay = &said, reap
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The signal comes when the thread that started the child ends, not the process: it is kept as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting the mount: %w", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the mount: %w", err)
		}
		return errnoOf(said.String())
	case <-ctx.Done():
	}
	_ = cmd.Process.Kill()
	select {
	case err := <-ended:
		if err == nil { // it was just in time
			return errnoOf(said.String())
		}
	case <-time.After(reap): // not even killed it ends: the kernel does not let it go
		return fmt.Errorf("the server does not answer the mount, and it cannot be ended: %w", ctx.Err())
	}
	// Killed, it may have mounted before.
	_ = newUnmounter().within(context.WithoutCancel(ctx), detachWait, dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	return fmt.Errorf("the server does not answer the mount: %w", ctx.Err())
}

// errnoOf reads what MountHere wrote.
func errnoOf(said string) error {
	n, err := strconv.ParseUint(strings.TrimSpace(said), 10, 16)
	switch {
	case err != nil:
		return fmt.Errorf("the mount said %q", said)
	case n != 0:
		return syscall.Errno(n)
	}
	return nil
}

// MountHere mounts an NFS export in this process and writes the errno of that, 0 for success: it is the child of a mounter.
// Its arguments are source, directory, flags and options.
func MountHere(out io.Writer, args []string) error {
	const count = 4
	if len(args) != count {
		return errors.New("this command is for the agent itself")
	}
	flags, err := strconv.ParseUint(args[2], 10, 32)
	if err != nil {
		return fmt.Errorf("reading the flags: %w", err)
	}
	var errno syscall.Errno
	if err := unix.Mount(args[0], args[1], "nfs4", uintptr(flags), args[3]); err != nil && !errors.As(err, &errno) {
		return fmt.Errorf("mounting: %w", err)
	}
	_, err = fmt.Fprintln(out, int(errno))
	return err
}
