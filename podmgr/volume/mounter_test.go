package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAMountInAChild(t *testing.T) {
	program := func(script string) mounter {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
		return mounter{path, 10 * time.Second}
	}
	for name, c := range map[string]struct {
		m     mounter
		errno error
		err   string
	}{
		"done":                        {m: program(`[ "$*" = "__mount-nfs s:/x /d 1 vers=4.2" ] && echo 0`)},
		"the kernel's word":           {m: program("echo 19"), errno: unix.ENODEV},
		"a child that breaks":         {m: program("exit 3"), err: "the mount: exit status 3"},
		"a child that says nothing":   {m: program(""), err: `the mount said ""`},
		"a program that is not there": {m: mounter{"/nonexistent", time.Second}, err: "starting the mount"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.m.mount(t.Context(), "s:/x", "/d", unix.MS_RDONLY, "vers=4.2")
			good := err == nil && c.errno == nil && c.err == "" || c.errno != nil && errors.Is(err, c.errno) ||
				c.err != "" && err != nil && strings.HasPrefix(err.Error(), c.err)
			if !good {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAMountThatHangsIsKilled(t *testing.T) {
	dir := t.TempDir()
	script, pidFile := filepath.Join(dir, "program"), filepath.Join(dir, "pid")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho $$ >"+pidFile+"\nexec sleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	err := mounter{script, time.Second}.mount(t.Context(), "s:/x", filepath.Join(dir, "d"), 0, "")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer") || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the child is still there: %v", err)
	}
}

func TestTheChildSaysWhatTheKernelSays(t *testing.T) {
	var out strings.Builder
	if err := MountHere(&out, []string{"127.0.0.1:/x", filepath.Join(t.TempDir(), "none"), "1", "vers=4.2,addr=127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	// ENOENT or, of a kernel without NFS, ENODEV.
	if err := errnoOf(out.String()); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		t.Errorf("it wrote %q", out.String())
	}
	for _, args := range [][]string{nil, {"a", "b", "c", "d"}, {"a", "b", "1"}} {
		if MountHere(&out, args) == nil {
			t.Errorf("took %q", args)
		}
	}
}
