package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStarting has a shell do what runc's init does with its FIFO.
func TestStarting(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		want         bool
	}{
		{"an init that waits for its reader goes on", `printf 0 >exec.fifo; sleep 60`, true},
		{"an init that comes to it later goes on", `sleep 0.3; printf 0 >exec.fifo; sleep 60`, true},
		{"a program that ends at once was started", `printf 0 >exec.fifo`, true},
		{"an init that ends before was not", `sleep 0.2`, false},
		{"an init that opens it and ends was not", `: >exec.fifo`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fifo := filepath.Join(dir, "exec.fifo")
			if err := unix.Mkfifo(fifo, 0o622); err != nil {
				t.Fatal(err)
			}
			c := exec.Command("sh", "-c", tc.script)
			c.Dir = dir
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = c.Process.Kill(), c.Wait() })
			if got := pass(fifo, c.Process.Pid); got != tc.want {
				t.Errorf("started: %v, want %v", got, tc.want)
			}
			if _, err := os.Stat(fifo); os.IsNotExist(err) != tc.want {
				t.Errorf("the FIFO is gone: %v, want %v", err != nil, tc.want)
			}
		})
	}
	t.Run("only runc start is ours", func(t *testing.T) {
		for _, args := range [][]string{
			{"runc", "--root", "/r", "--log", "l", "delete", "id"},
			{"crun", "--root", "/r", "start", "id"},
			{"runc", "start", "id"},
			{"runc", "--root", "/r", "start", "there-is-none"},
		} {
			if started(exec.Command(args[0], args[1:]...)) {
				t.Errorf("%v was done without runc", args)
			}
		}
	})
}
