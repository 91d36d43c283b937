package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Lock makes this the only agent on a root directory; it says which process holds it otherwise.
func Lock(root string) (unlock func(), err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("creating --root: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(root, "agent.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking --root: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := make([]byte, 16)
		n, _ := f.Read(pid)
		_ = f.Close()
		return nil, fmt.Errorf("--root %s is in use by another agent, process %s (stop it, or give this one another --root and --state)", root, strings.TrimSpace(string(pid[:n])))
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("locking --root: %w", err)
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, fmt.Errorf("locking --root: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
