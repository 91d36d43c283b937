package containerd

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

// mountsOf lists a container's mounts: the system's, the pod's files, then the volumes, outer ones before inner ones.
func mountsOf(p *v1.Pod, c *v1.Container, sb sandboxView) ([]specs.Mount, error) {
	nosuid := []string{"nosuid", "noexec", "nodev"}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: nosuid},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: nosuid},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append(slices.Clone(nosuid), "ro")},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append(slices.Clone(nosuid), "relatime", "ro")},
	}
	volumes, err := volumeMounts(c, sb)
	if err != nil {
		return nil, err
	}
	mounted := func(dst string) bool {
		return slices.ContainsFunc(volumes, func(m specs.Mount) bool { return m.Destination == dst })
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
	mounts = append(mounts, volumes...)
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	return mounts, nil
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

func volumeMounts(c *v1.Container, sb sandboxView) ([]specs.Mount, error) {
	var out []specs.Mount
	for _, m := range c.VolumeMounts {
		src, ok := sb.volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("container %q mounts volume %q, which the pod does not have", c.Name, m.Name)
		}
		dst := m.MountPath
		if !path.IsAbs(dst) {
			dst = "/" + dst
		}
		options := []string{"rbind", "rprivate", "rw"}
		if m.ReadOnly {
			options[2] = "ro"
		}
		out = append(out, specs.Mount{Destination: path.Clean(dst), Type: "bind", Source: src, Options: options})
	}
	return out, nil
}
