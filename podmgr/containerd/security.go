package containerd

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

// secure applies the security context. The defaults are containerd's: its capabilities, masked paths and seccomp profile.
func secure(s *specs.Spec, p *v1.Pod, c *v1.Container, sb sandboxView) error {
	sc := c.SecurityContext
	if sc == nil {
		sc = &v1.SecurityContext{}
	}
	s.Root.Readonly = sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
	s.Process.SelinuxLabel, s.Linux.MountLabel = sb.confine.processLabel, sb.confine.mountLabel
	s.Process.ApparmorProfile = sb.confine.appArmor
	if sc.Privileged != nil && *sc.Privileged {
		return privileged(s)
	}
	s.Process.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
	caps := capabilities(sc.Capabilities)
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	// Validation allows Unmasked with hostUsers false only; so does this.
	if sc.ProcMount == nil || *sc.ProcMount != v1.UnmaskedProcMount || !ownUsers(p) {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	profile := seccompProfile(p, c)
	switch {
	case sb.confine.localSeccomp != nil:
		s.Linux.Seccomp = sb.confine.localSeccomp
	case sb.confine.seccomp && (profile == nil || profile.Type != v1.SeccompProfileTypeUnconfined):
		s.Linux.Seccomp = seccomp.DefaultProfile(s)
	}
	return nil
}

// privileged gives a container what the host's root has.
func privileged(s *specs.Spec) error {
	all, err := cap.Current()
	if err != nil {
		return fmt.Errorf("reading this process' capabilities: %w", err)
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	devices, err := oci.HostDevices()
	if err != nil {
		return fmt.Errorf("listing the host's devices: %w", err)
	}
	s.Linux.Devices = devices
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	for i := range s.Mounts {
		switch s.Mounts[i].Type {
		case "sysfs", "cgroup":
			s.Mounts[i].Options = slices.DeleteFunc(slices.Clone(s.Mounts[i].Options), func(o string) bool { return o == "ro" })
			s.Mounts[i].Options = append(s.Mounts[i].Options, "rw")
		}
	}
	return nil
}

// capabilities are containerd's defaults with the manifest's changes; names come with or without CAP_.
func capabilities(c *v1.Capabilities) []string {
	caps := defaultCapabilities()
	if c == nil {
		return caps
	}
	name := func(k v1.Capability) string {
		n := strings.ToUpper(string(k))
		if n != "ALL" && !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		return n
	}
	known := cap.Known()
	if current, err := cap.Current(); err == nil {
		known = current // what this box cannot give, runc refuses
	}
	for _, add := range c.Add {
		if name(add) == "ALL" {
			caps = slices.Clone(known)
		}
	}
	for _, drop := range c.Drop {
		if name(drop) == "ALL" {
			caps = nil
		}
	}
	for _, add := range c.Add {
		if n := name(add); n != "ALL" && !slices.Contains(caps, n) {
			caps = append(caps, n)
		}
	}
	for _, drop := range c.Drop {
		n := name(drop)
		caps = slices.DeleteFunc(caps, func(x string) bool { return x == n })
	}
	return caps
}

func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// maskedPaths are the kubelet's (pkg/securitycontext), those that lie below a CPU where the machine has them.
func maskedPaths() []string {
	perCPU, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle") // its only error is the pattern's
	return append([]string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}, perCPU...)
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
