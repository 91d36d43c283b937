package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cniPlugins are those that the agent's own network configuration uses.
var cniPlugins = []string{"bridge", "host-local", "loopback", "portmap"}

func (m *machine) cni(_ context.Context, o CheckOptions) []Finding {
	if len(o.CNIBinDirs) == 0 {
		return nil
	}
	var missing []string
	for _, plugin := range cniPlugins {
		found := ""
		for _, dir := range o.CNIBinDirs {
			if m.exists(filepath.Join(dir, plugin)) {
				found = filepath.Join(dir, plugin)
				break
			}
		}
		if found == "" {
			missing = append(missing, plugin)
			continue
		}
		// Whoever can replace a plugin is root (CVE-2021-20206 and its like).
		for _, p := range []string{filepath.Dir(found), found} {
			if why := m.writableByOthers(p); why != "" {
				return fail("cni", p+" "+why, "chown root and chmod go-w it")
			}
		}
	}
	if len(missing) > 0 {
		return fail("cni", fmt.Sprintf("the plugins %s are in none of %s", strings.Join(missing, ", "), strings.Join(o.CNIBinDirs, ", ")),
			"install the package containernetworking-plugins")
	}
	return ok("cni", "%s", strings.Join(cniPlugins, ", "))
}

// writableByOthers says how somebody else than root can change a file; empty when nobody can.
func (m *machine) writableByOthers(p string) string {
	st, err := os.Stat(m.path(p))
	if err != nil {
		return ""
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
		return fmt.Sprintf("belongs to user %d", sys.Uid)
	}
	if st.Mode().Perm()&0o022 != 0 {
		return fmt.Sprintf("can be written by others (mode %04o)", st.Mode().Perm())
	}
	return ""
}

// Free space below which it becomes tight, and below which nothing works.
const (
	diskTight = 1 << 30
	diskFull  = 100 << 20
)

func (m *machine) disk(_ context.Context, o CheckOptions) (out []Finding) {
	if o.Root == "" {
		return nil
	}
	dir := m.path(o.Root)
	for !m.isDir(dir) && dir != "/" {
		dir = filepath.Dir(dir) // it will be made there
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return warn("disk", fmt.Sprintf("the space at %s is not known: %v", o.Root, err), "")
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // a disk's size fits
	switch {
	case free < diskFull:
		return fail("disk", size(free)+" are free at "+o.Root, "make room")
	case st.Files > 0 && st.Ffree*50 < st.Files:
		return warn("disk", fmt.Sprintf("%d of %d inodes are free at %s", st.Ffree, st.Files, o.Root), "make room")
	case free < diskTight:
		return warn("disk", size(free)+" are free at "+o.Root, "make room")
	}
	return ok("disk", "%s are free at %s", size(free), o.Root)
}

func (m *machine) isDir(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

// manifests looks who can write manifests: they are root, because a manifest can ask for anything.
func (m *machine) manifests(_ context.Context, o CheckOptions) (out []Finding) {
	for _, dir := range o.Manifests {
		if !m.exists(dir) {
			out = append(out, warn("manifests", dir+" does not exist", "the agent will make it")...)
			continue
		}
		bad := m.openPaths(dir)
		if len(bad) > 0 {
			out = append(out, fail("manifests", strings.Join(bad, "; "), "whoever can write manifests is root: chown root and chmod go-w")...)
			continue
		}
		out = append(out, ok("manifests", "%s can be written by root alone", dir)...)
	}
	return out
}

func (m *machine) openPaths(dir string) (bad []string) {
	for p := dir; ; p = filepath.Dir(p) { // who can rename a parent can replace the directory
		st, err := os.Stat(m.path(p))
		sticky := err == nil && st.Mode()&fs.ModeSticky != 0 && p != dir
		if why := m.writableByOthers(p); why != "" && !sticky {
			bad = append(bad, p+" "+why)
		}
		if p == "/" || p == "." {
			break
		}
	}
	_ = filepath.WalkDir(m.path(dir), func(p string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(m.fs, p)
		if err != nil || rerr != nil || p == m.path(dir) {
			return nil //nolint:nilerr // what is gone cannot be written
		}
		if why := m.writableByOthers("/" + rel); why != "" && d.Type()&fs.ModeSymlink == 0 && len(bad) < 10 {
			bad = append(bad, "/"+rel+" "+why)
		}
		return nil
	})
	return bad
}

// directories looks at what the agent keeps: state in memory, secrets from nobody's eyes.
func (m *machine) directories(_ context.Context, o CheckOptions) (out []Finding) {
	if o.Root != "" && m.exists(o.Root) {
		if st, err := os.Stat(m.path(o.Root)); err == nil && st.Mode().Perm()&0o077 != 0 {
			out = append(out, warn("directories", fmt.Sprintf("%s can be read by others (mode %04o)", o.Root, st.Mode().Perm()), "chmod 0700 it: it holds Secrets and images")...)
		}
	}
	if o.State != "" {
		dir := m.path(o.State)
		for !m.isDir(dir) && dir != "/" {
			dir = filepath.Dir(dir)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && st.Type != unix.TMPFS_MAGIC {
			out = append(out, warn("directories", o.State+" is not in memory", "put --state on a tmpfs such as /run, or flash wears out and state of an earlier boot stays")...)
		}
		socket := filepath.Join(o.State, "agent.sock")
		if st, err := os.Stat(m.path(socket)); err == nil && st.Mode().Perm()&0o077 != 0 {
			out = append(out, fail("directories", fmt.Sprintf("%s can be opened by others (mode %04o)", socket, st.Mode().Perm()), "chmod 0600 it: who opens it is root")...)
		}
	}
	if out == nil {
		return ok("directories", "in place and closed to others")
	}
	return out
}

func (m *machine) shim(_ context.Context, o CheckOptions) []Finding {
	if o.Containerd != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	shim := filepath.Join(filepath.Dir(self), "containerd-shim-runc-v2")
	if _, err := os.Stat(shim); errors.Is(err, fs.ErrNotExist) {
		return warn("shim", shim+" does not exist", "install the one that came with this agent, or name it with --shim")
	}
	return ok("shim", "%s", shim)
}
