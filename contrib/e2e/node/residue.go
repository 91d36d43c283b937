package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
)

// Residue lists everything on the machine that belongs to pods of this node; a node without pods has none. Each line
// says what it is, such as "mount /run/…" or "cgroup memory/…".
func (n *Node) Residue() []string {
	var out []string
	add := func(kind string, names ...string) {
		for _, name := range names {
			out = append(out, kind+" "+name)
		}
	}
	for _, p := range n.Processes() {
		add("process", p.String())
	}
	for _, p := range n.Shims() {
		add("shim", p.String())
	}
	add("mount", n.mounts()...)
	add("link", n.links()...)
	add("iptables", n.rules()...)
	add("cgroup", n.cgroups()...)
	add("file", n.files()...)
	add("runc", n.runcStates()...)
	add("containerd", n.engineObjects()...)
	slices.Sort(out)
	return out
}

func (n *Node) mounts() []string {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(n.Dir))
	if err != nil {
		n.t.Fatalf("reading mounts: %v", err)
	}
	var out []string
	for _, m := range infos {
		if m.Mountpoint != n.State() && m.Mountpoint != n.containerdState() {
			out = append(out, m.FSType+" "+m.Mountpoint)
		}
	}
	return out
}

// links are the host ends of the pods' veths.
func (n *Node) links() []string {
	bridge, err := netlink.LinkByName(n.Bridge)
	if err != nil {
		return nil
	}
	all, err := netlink.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // links came or went meanwhile
		all, err = netlink.LinkList()
	}
	if err != nil {
		n.t.Fatalf("listing links: %v", err)
	}
	var out []string
	for _, l := range all {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			out = append(out, l.Attrs().Name)
		}
	}
	return out
}

// cgroups are the pods' directories in every hierarchy: those whose name holds "pod" and that lie below the QoS level.
func (n *Node) cgroups() []string {
	var out []string
	for _, root := range n.cgroupRoots() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.Contains(d.Name(), "pod") && !strings.HasPrefix(d.Name(), "kubepods") {
				out = append(out, path)
				return filepath.SkipDir
			}
			return nil
		})
	}
	return out
}

// cgroupRoots are the node's cgroup in every hierarchy that is mounted.
func (n *Node) cgroupRoots() []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + n.CgroupRoot)
	if _, err := os.Stat("/sys/fs/cgroup" + n.CgroupRoot); err == nil {
		roots = append(roots, "/sys/fs/cgroup"+n.CgroupRoot)
	}
	return roots
}

// runcStates are the directories in which runc keeps a container; those of the node's containers name its cgroup.
func (n *Node) runcStates() []string {
	var out []string
	for _, pattern := range []string{"/run/containerd/runc/*/*/state.json", filepath.Join(n.State(), "runc/*/*/state.json")} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), n.CgroupRoot+"/") {
				out = append(out, filepath.Dir(f))
			}
		}
	}
	return out
}

// files are the addresses that IPAM holds, FIFOs, and directories of pods and their logs.
func (n *Node) files() []string {
	var out []string
	for _, top := range []string{n.State(), n.Root()} {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil
			case d.IsDir() && (path == filepath.Join(n.Root(), "containerd")):
				return filepath.SkipDir
			case net.ParseIP(d.Name()) != nil, d.Type()&fs.ModeNamedPipe != 0:
				out = append(out, path)
			}
			return nil
		})
	}
	for _, dir := range []string{
		n.Logs(), filepath.Join(n.Root(), "pods"), filepath.Join(n.State(), "pods"), filepath.Join(n.State(), "containers"),
	} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

// Containerd connects to the node's containerd, in the agent's namespace.
func (n *Node) Containerd() *client.Client {
	n.t.Helper()
	c, err := client.New(n.ContainerdSocket(), client.WithDefaultNamespace("agent"), client.WithTimeout(10*time.Second))
	if err != nil {
		n.t.Fatalf("connecting to containerd: %v", err)
	}
	return c
}

// engineObjects are containers, tasks, leases and active snapshots. The agent (when the engine lives in it) must run.
func (n *Node) engineObjects() []string {
	probe, err := net.Dial("unix", n.ContainerdSocket())
	if err != nil {
		return nil
	}
	_ = probe.Close()
	c := n.Containerd()
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var out []string
	fail := func(what string, err error) {
		if err != nil {
			n.t.Fatalf("listing containerd's %s: %v", what, err)
		}
	}
	all, err := c.Containers(ctx)
	fail("containers", err)
	for _, x := range all {
		what := "container " + x.ID()
		if _, err := x.Task(ctx, nil); err == nil {
			what += " with a task"
		}
		out = append(out, what)
	}
	leases, err := c.LeasesService().List(ctx)
	fail("leases", err)
	for _, l := range leases {
		out = append(out, fmt.Sprintf("lease %s %v", l.ID, l.Labels))
	}
	for _, name := range []string{"overlayfs", "native"} {
		err = c.SnapshotService(name).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
			if i.Kind != snapshots.KindCommitted {
				out = append(out, "snapshot "+i.Name)
			}
			return nil
		})
		fail("snapshots", err)
	}
	return out
}

// WaitClean waits until nothing of any pod is left.
func (n *Node) WaitClean() {
	n.t.Helper()
	n.Eventually("nothing to be left of the pods", func() string { return strings.Join(n.Residue(), "\n") })
}
