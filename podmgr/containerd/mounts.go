package containerd

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

// mountsOf lists a container's mounts: the system's, the pod's files, then the volumes, outer ones before inner ones.
func mountsOf(p *v1.Pod, c *v1.Container, sb sandboxView) []specs.Mount {
	nosuid := []string{"nosuid", "noexec", "nodev"}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: nosuid},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: nosuid},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append(slices.Clone(nosuid), "ro")},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append(slices.Clone(nosuid), "relatime", "ro")},
	}
	mounted := func(dst string) bool {
		return slices.ContainsFunc(sb.mounts, func(m specs.Mount) bool { return m.Destination == dst })
	}
	readonly := c.SecurityContext != nil && c.SecurityContext.ReadOnlyRootFilesystem != nil && *c.SecurityContext.ReadOnlyRootFilesystem
	add := func(dst, src string, ro bool) {
		if mounted(dst) {
			return
		}
		o := []string{"rbind", "rprivate", "rw"}
		if ro {
			o[2] = "ro"
		}
		mounts = append(mounts, specs.Mount{Destination: dst, Type: "bind", Source: src, Options: o})
	}
	shm := path.Join(sb.dir, "shm")
	if p.Spec.HostIPC {
		shm = "/dev/shm"
	}
	add("/dev/shm", shm, false)
	add("/etc/hosts", path.Join(sb.dir, "hosts"), readonly)
	add("/etc/hostname", path.Join(sb.dir, "hostname"), readonly)
	add("/etc/resolv.conf", path.Join(sb.dir, "resolv.conf"), readonly)
	if c.TerminationMessagePath != "" && sb.termination != "" {
		add(path.Clean(c.TerminationMessagePath), sb.termination, false)
	}
	mounts = append(mounts, sb.mounts...)
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	return mounts
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

// rootPropagation is that of the container's root filesystem, which bounds what mounts below it can do; empty: the
// runtime's default, private towards the node.
func rootPropagation(mounts []specs.Mount) string {
	found := ""
	for i := range mounts {
		switch {
		case slices.Contains(mounts[i].Options, "rshared"):
			return "rshared"
		case slices.Contains(mounts[i].Options, "rslave"):
			found = "rslave"
		}
	}
	return found
}

// checkPropagation refuses mounts that could not propagate, as containerd's CRI does: the mount that source lies on has
// to be shared, or at least a slave for mountPropagation HostToContainer.
func checkPropagation(source string, options []string) error {
	both, one := slices.Contains(options, "rshared"), slices.Contains(options, "rslave")
	if !both && !one {
		return nil
	}
	info, err := mount.Lookup(source)
	if err != nil {
		return fmt.Errorf("looking for the mount of %s: %w", source, err)
	}
	for option := range strings.FieldsSeq(info.Optional) {
		if strings.HasPrefix(option, "shared:") || one && strings.HasPrefix(option, "master:") {
			return nil
		}
	}
	kind := "a shared"
	if one {
		kind = "a shared or slave"
	}
	return fmt.Errorf("path %q is mounted on %q but it is not %s mount", source, info.Mountpoint, kind)
}
