package node

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
)

// clear ends the node. A test that went well also has to leave nothing behind when its last manifest goes.
func (n *Node) clear() {
	n.t.Helper()
	// Deferred, because what comes before may end the test, and its goroutine with it.
	defer func() {
		if n.t.Failed() {
			n.t.Logf("the agent's log ends with\n%s", n.tail())
			if os.Getenv("AGENT_E2E_KEEP") != "" {
				n.t.Logf("kept: %s", n.Dir)
				return
			}
		}
		n.Destroy()
		if err := os.RemoveAll(n.Dir); err != nil {
			n.t.Errorf("removing the node's directory: %v", err)
		}
	}()
	if !n.t.Failed() && n.Running() {
		if entries, err := os.ReadDir(n.Manifests()); err == nil {
			for _, e := range entries {
				_ = os.RemoveAll(filepath.Join(n.Manifests(), e.Name()))
			}
		}
		n.WaitClean()
	}
	n.Stop()
}

// Destroy takes from the machine what a loss of power takes: processes, mounts, links, rules, cgroups. The node's
// directories stay.
func (n *Node) Destroy() {
	n.t.Helper()
	if n.agent != nil {
		n.Kill()
	}
	n.KillContainerd()
	n.KillProcesses(n.Shims())
	n.KillProcesses(n.Processes())
	for range 3 { // a mount may lie on top of another
		infos, _ := mountinfo.GetMounts(mountinfo.PrefixFilter(n.Dir))
		slices.SortFunc(infos, func(a, b *mountinfo.Info) int { return strings.Compare(b.Mountpoint, a.Mountpoint) })
		for _, m := range infos {
			_ = syscall.Unmount(m.Mountpoint, syscall.MNT_DETACH)
		}
	}
	for _, dir := range n.runcStates() {
		_ = os.RemoveAll(dir)
	}
	for _, name := range n.links() {
		if l, err := netlink.LinkByName(name); err == nil {
			_ = netlink.LinkDel(l)
		}
	}
	if l, err := netlink.LinkByName(n.Bridge); err == nil {
		_ = netlink.LinkDel(l)
	}
	n.purgeRules()
	for _, root := range n.cgroupRoots() {
		removeCgroups(root)
	}
}

// removeCgroups removes a cgroup and those below it, deepest first.
func removeCgroups(root string) {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	for _, d := range dirs {
		_ = os.Remove(d)
	}
}

// Reboot loses power: Destroy, with it the state directory, and the kernel
// shows another boot ID. The boot ID belongs to the machine, so a test that reboots must not run beside others. Nothing
// is started again.
func (n *Node) Reboot() {
	n.t.Helper()
	n.Destroy()
	n.freshState()
	const target = "/proc/sys/kernel/random/boot_id"
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		n.t.Fatalf("making a boot ID: %v", err)
	}
	file := filepath.Join(n.Dir, fmt.Sprintf("boot-id-%d", n.starts))
	if err := os.WriteFile(file, id, 0o444); err != nil {
		n.t.Fatalf("writing a boot ID: %v", err)
	}
	if err := syscall.Mount(file, target, "", syscall.MS_BIND, ""); err != nil {
		n.t.Fatalf("changing the boot ID: %v", err)
	}
	n.t.Cleanup(func() {
		if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
			n.t.Errorf("restoring the boot ID: %v", err)
		}
	})
}
