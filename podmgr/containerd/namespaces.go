package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// A pod's namespaces are pinned by bind mounts in <state>/pods/<uid>: containers join them by path, so the pause and the
// first container can start side by side, and a killed pause is repaired without touching the others.
const (
	netFile = "net"
	ipcFile = "ipc"
	utsFile = "uts"
)

// wantedNamespaces says which namespaces a pod has of its own.
type wantedNamespaces struct {
	net, ipc, uts bool
	hostname      string
	sysctls       []v1.Sysctl // set in the namespaces when they are made
	user          bool        // and a user namespace, with these IDs
	ids           idRange
}

func (w wantedNamespaces) files() []string {
	var f []string
	if w.net {
		f = append(f, netFile)
	}
	if w.ipc {
		f = append(f, ipcFile)
	}
	if w.uts {
		f = append(f, utsFile)
	}
	if w.user {
		f = append(f, userFile)
	}
	return f
}

// pinned says whether every wanted namespace is mounted in dir.
func (w wantedNamespaces) pinned(dir string) bool {
	for _, f := range w.files() {
		if !isNamespace(filepath.Join(dir, f)) {
			return false
		}
	}
	return true
}

func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// pin makes the wanted namespaces and mounts them in dir. The loopback interface is up, the host name set, and ports
// below 1024 and ICMP echo are open to every user, as containerd's CRI sets them. program is what runs in a new user
// namespace until it is mounted.
func (w wantedNamespaces) pin(dir, program string) error {
	if w.pinned(dir) {
		return nil
	}
	var err error
	onOwnThread(func() {
		if w.user {
			err = w.pinOwned(dir, program)
			return
		}
		err = w.pinThread(dir)
	})
	return err
}

func (w wantedNamespaces) pinThread(dir string) error {
	flags := 0
	if w.net {
		flags |= unix.CLONE_NEWNET
	}
	if w.ipc {
		flags |= unix.CLONE_NEWIPC
	}
	if w.uts {
		flags |= unix.CLONE_NEWUTS
	}
	if flags == 0 {
		return nil
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("creating the pod's namespaces: %w", err)
	}
	if err := w.furnish(); err != nil {
		return err
	}
	return w.mountAll(dir, fmt.Sprintf("/proc/self/task/%d/ns", unix.Gettid()))
}

// furnish sets up the namespaces, which are the calling thread's.
func (w wantedNamespaces) furnish() error {
	if w.uts {
		if err := unix.Sethostname([]byte(w.hostname)); err != nil {
			return fmt.Errorf("setting the pod's host name %q: %w", w.hostname, err)
		}
	}
	if w.net {
		if err := prepareNetNS(); err != nil {
			return err
		}
	}
	return setSysctls(w.sysctls)
}

// mountAll mounts the namespaces of a process or thread, at /proc/…/ns, in dir.
func (w wantedNamespaces) mountAll(dir, at string) error {
	for _, f := range w.files() {
		target := filepath.Join(dir, f)
		if err := unpin(target); err != nil {
			return err
		}
		if err := os.WriteFile(target, nil, 0o444); err != nil {
			return fmt.Errorf("pinning a namespace: %w", err)
		}
		if err := unix.Mount(filepath.Join(at, f), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pinning the %s namespace at %s: %w", f, target, err)
		}
	}
	return nil
}

func prepareNetNS() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting the loopback interface up: %w", err)
	}
	for name, value := range map[string]string{
		"ip_unprivileged_port_start": "0",
		"ping_group_range":           "0 2147483647",
	} {
		// Old kernels lack them. /proc/sys/net shows the network namespace of the thread that opens it.
		_ = os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0)
	}
	// Nobody else can have an address of the pod's range: looking for one first would take IPv6 a second or two.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
	return nil
}

// unpin unmounts and removes one pinned namespace.
func unpin(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unpinning %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}
