package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"edgepod.dev/agent/manifests"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A pod with hostUsers false has a user namespace of its own: its IDs 0 to 65535 are others on the node, of a range that
// no other pod has. The namespace owns the pod's other namespaces and is pinned like them. The root filesystem and the
// volumes are mounted with their IDs mapped, so what is on disk has the IDs that the container sees.

const (
	// idsPerPod is the length of a pod's range, the kubelet's userNamespaces.idsPerPod.
	idsPerPod = 1 << 16
	userFile  = "user"
	// idsFile in <root>/pods/<uid> keeps the range, in the kubelet's format.
	idsFile = "userns"
)

func ownUsers(p *v1.Pod) bool { return p.Spec.HostUsers != nil && !*p.Spec.HostUsers }

// idRange is where a pod's IDs begin on the node; 0: the pod has the node's own.
type idRange uint32

func (b idRange) mappings() []specs.LinuxIDMapping {
	if b == 0 {
		return nil
	}
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(b), Size: idsPerPod}}
}

// labels make a snapshotter that can do so show a snapshot with these IDs.
func (b idRange) labels() map[string]string {
	m := fmt.Sprintf("0:%d:%d", b, idsPerPod)
	return map[string]string{snapshots.LabelSnapshotUIDMapping: m, snapshots.LabelSnapshotGIDMapping: m}
}

// check refuses IDs that the range does not have: the container could not become them.
func (b idRange) check(who identityOf) error {
	if b == 0 {
		return nil
	}
	for _, id := range slices.Concat([]uint32{who.uid, who.gid}, who.groups) {
		if id >= idsPerPod {
			return fmt.Errorf("ID %d is not among the %d of the pod's user namespace (hostUsers: false)", id, idsPerPod)
		}
	}
	return nil
}

// idMapping and mappings are the kubelet's file.
type idMapping struct {
	HostID      uint32 `json:"hostId"`
	ContainerID uint32 `json:"containerId"`
	Length      uint32 `json:"length"`
}

type idMappings struct {
	UID []idMapping `json:"uidMappings"`
	GID []idMapping `json:"gidMappings"`
}

// idsOf is the range that a pod has; 0: it has none yet.
func (r *Runtime) idsOf(uid types.UID) (idRange, error) {
	b, err := os.ReadFile(filepath.Join(r.podDir(uid), idsFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	var m idMappings
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err == nil && (len(m.UID) != 1 || !slices.Equal(m.UID, m.GID) || m.UID[0].Length != idsPerPod || m.UID[0].HostID < idsPerPod) {
		err = errors.New("it is not one range")
	}
	if err != nil {
		return 0, fmt.Errorf("reading the pod's range of IDs: %w", err)
	}
	return idRange(m.UID[0].HostID), nil
}

// takeIDs gives a pod a range of its own, the one it had before where it had one. The range is free again when the pod's
// directory is removed.
func (r *Runtime) takeIDs(p *manifests.Pod) (idRange, error) {
	if !ownUsers(p.Object) {
		return 0, nil
	}
	if err := r.makePodDir(p); err != nil {
		return 0, err
	}
	r.lives.Lock()
	defer r.lives.Unlock()
	if have, err := r.idsOf(p.UID()); have != 0 || err != nil {
		return have, err
	}
	taken := map[idRange]bool{}
	pods, err := os.ReadDir(filepath.Dir(r.podDir(p.UID())))
	if err != nil {
		return 0, fmt.Errorf("listing the ranges of IDs: %w", err)
	}
	for _, d := range pods {
		// A range that cannot be read may be in use: nobody gets it, and its pod says so.
		if base, err := r.idsOf(types.UID(d.Name())); err == nil {
			taken[base] = true
		}
	}
	for base := uint64(idsPerPod); base+idsPerPod <= 1<<32; base += idsPerPod {
		if taken[idRange(base)] {
			continue
		}
		one := []idMapping{{HostID: uint32(base), Length: idsPerPod}}
		b, err := json.Marshal(idMappings{UID: one, GID: one})
		if err != nil {
			return 0, fmt.Errorf("encoding the pod's range of IDs: %w", err)
		}
		return idRange(base), writeFile(filepath.Join(r.podDir(p.UID()), idsFile), b, 0o600)
	}
	return 0, errors.New("could not find an empty slot to allocate a user namespace")
}

// lacksUserNamespaces says what keeps this node from giving pods user namespaces; empty: nothing.
func (r *Runtime) lacksUserNamespaces(ctx context.Context) string {
	if b, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err != nil || strings.TrimSpace(string(b)) == "0" {
		return "the kernel allows none (user.max_user_namespaces)"
	}
	f := r.features()
	if !slices.Contains(f.Linux.Namespaces, string(specs.UserNamespace)) {
		return "the OCI runtime does not say that it knows them (runc features)"
	}
	resp, err := r.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1,id=="+r.snapshotter)
	if err != nil {
		return fmt.Sprintf("containerd does not tell what its snapshotter can: %v", err)
	}
	for _, p := range resp.GetPlugins() {
		if slices.Contains(p.GetCapabilities(), "remap-ids") {
			return ""
		}
	}
	return fmt.Sprintf("containerd's snapshotter %s cannot map IDs (containerd 2 with overlayfs on Linux 5.19 can)", r.snapshotter)
}

// pinOwned makes the wanted namespaces as those of a new user namespace with these IDs, and mounts them in dir: a thread
// of a Go program cannot enter one, so a process is made in them and is gone when they are mounted.
func (w wantedNamespaces) pinOwned(dir, program string) error {
	flags := uintptr(unix.CLONE_NEWUSER)
	for on, flag := range map[*bool]uintptr{&w.net: unix.CLONE_NEWNET, &w.ipc: unix.CLONE_NEWIPC, &w.uts: unix.CLONE_NEWUTS} {
		if *on {
			flags |= flag
		}
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(w.ids), Size: idsPerPod}}
	cmd := exec.Command(program) //nolint:noctx,gosec // our own pause, which ends below
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: flags, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("creating the pod's user namespace: %w", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if err := w.mountAll(dir, fmt.Sprintf("/proc/%d/ns", cmd.Process.Pid)); err != nil {
		return err
	}
	for _, f := range w.files() {
		if f == userFile {
			continue
		}
		fd, err := unix.Open(filepath.Join(dir, f), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening the pod's %s namespace: %w", f, err)
		}
		err = unix.Setns(fd, 0)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("entering the pod's %s namespace: %w", f, err)
		}
	}
	return w.furnish()
}

// mapVolumes replaces the sources of the container's bind mounts by clones with mapped IDs. They lie in the container's
// state directory and go with it.
func (x *starting) mapVolumes(ctx context.Context) error {
	if x.view.ids == 0 {
		return nil
	}
	if err := x.r.bringing.await(ctx, x.pod.UID(), false); err != nil {
		return err
	}
	users, err := os.Open(filepath.Join(x.view.dir, userFile))
	if err != nil {
		return noSandbox()
	}
	defer users.Close()
	dir := filepath.Join(x.r.containerState(x.id), "mapped")
	if err := removeTree(dir); err != nil { // of a start that was cut off
		return err
	}
	for i := range x.view.mounts {
		m := &x.view.mounts[i]
		if rootPropagation(x.view.mounts[i:i+1]) != "" {
			return fmt.Errorf("mount %s: mountPropagation is not supported with hostUsers: false", m.Destination)
		}
		target, err := mountPoint(m.Source, dir, strconv.Itoa(i))
		if err != nil {
			return err
		}
		if err := mount.IDMapMount(m.Source, target, int(users.Fd())); err != nil {
			return fmt.Errorf("mounting %s with mapped IDs, which not every file system can: %w", m.Destination, err)
		}
		m.Source = target
	}
	if _, inside := podSysctls(x.pod.Object); len(inside) > 0 {
		x.r.pauses.waitFor(sandboxID(x.pod.UID())) // which sets them
	}
	return nil
}

// keepLocked adds to bind mounts what their sources have: in a user namespace the kernel lets nobody take it away, and old
// runtimes (runc before 1.1.8) try when they make a mount read-only.
func keepLocked(mounts []specs.Mount) error {
	for i := range mounts {
		m := &mounts[i]
		if m.Type != "bind" {
			continue
		}
		var st unix.Statfs_t
		if err := unix.Statfs(m.Source, &st); err != nil {
			return fmt.Errorf("looking at the mount of %s: %w", m.Destination, err)
		}
		m.Options = slices.Clone(m.Options)
		for _, o := range []struct {
			flag int64
			name string
		}{{unix.ST_NOSUID, "nosuid"}, {unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"}, {unix.ST_NOATIME, "noatime"}, {unix.ST_RDONLY, "ro"}} {
			if int64(st.Flags)&o.flag != 0 && !slices.Contains(m.Options, o.name) { //nolint:unconvert // another type on 32 bits
				m.Options = append(m.Options, o.name)
			}
		}
	}
	return nil
}

// mountPoint makes a mount point for source: a directory, or an empty file where source is one.
func mountPoint(source string, dir, name string) (string, error) {
	st, err := os.Stat(source)
	if err != nil {
		return "", fmt.Errorf("looking at a volume: %w", err)
	}
	if st.IsDir() {
		return mkdir(0o700, dir, name)
	}
	if _, err := mkdir(0o700, dir); err != nil {
		return "", err
	}
	target := filepath.Join(dir, name)
	return target, writeFile(target, nil, 0o600)
}
