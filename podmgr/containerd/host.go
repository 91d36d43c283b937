package containerd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// hostLimits are what this box does not let us do.
type hostLimits struct {
	// minOOMScoreAdj is the lowest oom_score_adj a container may get: without CAP_SYS_RESOURCE no process can go below
	// the value it inherited, and runc then dies with "can't get final child's PID from pipe: EOF".
	minOOMScoreAdj int
	// raiseRlimits says whether hard limits may be raised (CAP_SYS_RESOURCE).
	raiseRlimits bool
}

const capSysResource = 24

func readHostLimits() hostLimits {
	if hasCapability(capSysResource) {
		return hostLimits{minOOMScoreAdj: -1000, raiseRlimits: true}
	}
	own := 0
	if b, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		own, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return hostLimits{minOOMScoreAdj: own}
}

func hasCapability(n uint) bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && mask&(1<<n) != 0
		}
	}
	return false
}

// chooseSnapshotter is overlayfs where the filesystem below root can carry it, else plain copies. The choice is kept: it
// must not change under images that are unpacked, and trying costs mounts that a killed agent would leave behind.
func chooseSnapshotter(root string) (string, error) {
	file := filepath.Join(root, "snapshotter")
	if b, err := os.ReadFile(file); err == nil && (string(b) == "overlayfs" || string(b) == "native") {
		return string(b), nil
	}
	tries, err := filepath.Glob(filepath.Join(root, "multiple-lowerdir-check*"))
	if err != nil {
		return "", fmt.Errorf("looking for an earlier try of overlayfs: %w", err)
	}
	for _, dir := range tries {
		if err := removeTree(dir); err != nil {
			return "", err
		}
	}
	name := "overlayfs"
	if overlayutils.Supported(root) != nil {
		name = "native"
	}
	return name, writeFile(file, []byte(name), 0o600)
}

// removeTree unmounts everything below dir and removes dir. It never crosses into a mount it could not unmount.
func removeTree(dir string) error {
	if _, err := os.Lstat(dir); err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(mounts[i].Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL {
			return fmt.Errorf("unmounting %s: %w", mounts[i].Mountpoint, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}

// writeFile writes a small file that readers never see half-written.
func writeFile(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func mkdir(mode os.FileMode, elem ...string) (string, error) {
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, mode); err != nil {
		return "", fmt.Errorf("creating %s: %w", dir, err)
	}
	return dir, nil
}

// NodeIP is the address of this node towards others; no packet is sent for it.
func NodeIP() string {
	c, err := net.Dial("udp", "192.0.2.1:9") //nolint:noctx // connecting a UDP socket does not block
	if err != nil {
		return ""
	}
	defer c.Close()
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return a.IP.String()
	}
	return ""
}
