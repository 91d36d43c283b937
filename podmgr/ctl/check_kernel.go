package ctl

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"
)

func (m *machine) user(context.Context, CheckOptions) []Finding {
	if os.Geteuid() != 0 {
		return fail("user", "this is not root", "use sudo")
	}
	return ok("user", "root")
}

// The oldest kernels that will do, and that do everything.
var (
	kernelFloor = version{4, 18, 0}
	kernelGood  = version{5, 10, 0}
)

func (m *machine) kernel(context.Context, CheckOptions) []Finding {
	release := m.read("/proc/sys/kernel/osrelease")
	v, known := parseVersion(release)
	switch {
	case !known:
		return warn("kernel", fmt.Sprintf("its version %q is not understood", release), "")
	case v.before(kernelFloor):
		return fail("kernel", release+" is older than "+kernelFloor.String(), "upgrade it")
	case v.before(kernelGood):
		return warn("kernel", release+" is older than "+kernelGood.String()+", which the agent is tested on", "upgrade it")
	}
	return ok("kernel", "%s", release)
}

func (m *machine) cgroups(context.Context, CheckOptions) []Finding {
	want := []string{"cpu", "cpuset", "memory", "pids"}
	if controllers := m.read("/sys/fs/cgroup/cgroup.controllers"); controllers != "" {
		return missingControllers("v2", want, func(c string) bool { return slices.Contains(strings.Fields(controllers), c) })
	}
	enabled := m.read("/proc/cgroups")
	if enabled == "" {
		return fail("cgroups", "the kernel has none", "use a kernel with CONFIG_CGROUPS")
	}
	return missingControllers("v1", append(want, "devices", "freezer"), func(c string) bool {
		for line := range strings.SplitSeq(enabled, "\n") {
			if f := strings.Fields(line); len(f) == 4 && f[0] == c {
				return f[3] == "1" && m.exists("/sys/fs/cgroup/"+c)
			}
		}
		return false
	})
}

func missingControllers(version string, want []string, has func(string) bool) []Finding {
	var missing []string
	for _, c := range want {
		if !has(c) {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return ok("cgroups", "%s", version)
	}
	hint := "mount them, or enable them on the kernel's command line"
	if slices.Contains(missing, "memory") {
		hint = "add cgroup_enable=memory cgroup_memory=1 to the kernel's command line and reboot"
	}
	return fail("cgroups", version+" without "+strings.Join(missing, ", "), hint)
}

func (m *machine) namespaces(context.Context, CheckOptions) []Finding {
	var missing []string
	for _, ns := range []string{"mnt", "net", "pid", "ipc", "uts"} {
		if !m.exists("/proc/self/ns/" + ns) {
			missing = append(missing, ns)
		}
	}
	if len(missing) > 0 {
		return fail("namespaces", "the kernel lacks "+strings.Join(missing, ", "), "use a kernel with CONFIG_NAMESPACES")
	}
	return ok("namespaces", "mnt, net, pid, ipc, uts")
}

func (m *machine) overlay(ctx context.Context, _ CheckOptions) []Finding {
	if strings.Contains(m.read("/proc/filesystems"), "\toverlay") {
		return ok("overlay", "here")
	}
	if _, err := m.run(ctx, "modprobe", "-n", "overlay"); err == nil {
		return ok("overlay", "will be loaded")
	}
	return warn("overlay", "the kernel has no overlay file system", "images will be copied whole for each container; use a kernel with CONFIG_OVERLAY_FS")
}

func (m *machine) seccomp(context.Context, CheckOptions) []Finding {
	if m.exists("/proc/sys/kernel/seccomp/actions_avail") {
		return ok("seccomp", "here")
	}
	return warn("seccomp", "the kernel has none", "containers can make every system call; use a kernel with CONFIG_SECCOMP_FILTER")
}

func (m *machine) iptables(ctx context.Context, _ CheckOptions) []Finding {
	v, err := m.run(ctx, "iptables", "--version")
	if err != nil {
		return fail("iptables", "it is not installed", "install the package iptables")
	}
	if out, err := m.run(ctx, "iptables", "-w", "5", "-t", "nat", "-S", "POSTROUTING"); err != nil {
		return fail("iptables", "the kernel has no NAT: "+out, "load the modules iptable_nat or nft_chain_nat")
	}
	return ok("iptables", "%s", v)
}

func (m *machine) forwarding(context.Context, CheckOptions) []Finding {
	switch m.read("/proc/sys/net/ipv4/ip_forward") {
	case "1":
		return ok("forwarding", "net.ipv4.ip_forward is 1")
	case "0":
		return warn("forwarding", "net.ipv4.ip_forward is 0", "the bridge plugin turns it on for the first pod; if something turns it off again, pods reach nobody (sysctl -w net.ipv4.ip_forward=1)")
	}
	return warn("forwarding", "net.ipv4.ip_forward cannot be read", "")
}

// Least limits of inotify. Every watched directory and many applications need some.
const (
	inotifyInstances = 128
	inotifyWatches   = 8192
)

func (m *machine) inotify(context.Context, CheckOptions) (out []Finding) {
	for name, least := range map[string]int{"max_user_instances": inotifyInstances, "max_user_watches": inotifyWatches} {
		text := m.read("/proc/sys/fs/inotify/" + name)
		if n, err := strconv.Atoi(text); err != nil || n < least {
			out = append(out, warn("inotify", fmt.Sprintf("fs.inotify.%s is %s, less than %d", name, orNone(text), least),
				fmt.Sprintf("changes of manifests may be noticed late (sysctl -w fs.inotify.%s=%d)", name, least))...)
		}
	}
	if out == nil {
		return ok("inotify", "limits are high enough")
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.Message, b.Message) })
	return out
}

func (m *machine) clock(context.Context, CheckOptions) []Finding {
	if now := time.Now(); now.Year() < 2025 {
		return fail("clock", "it says "+now.Format(time.DateOnly), "set it: with a wrong clock no certificate is valid and no image can be pulled")
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const unsynchronised = 5 // TIME_ERROR
	if err == nil && state == unsynchronised {
		return warn("clock", "it is not synchronised", "run chrony, systemd-timesyncd or another NTP client")
	}
	return ok("clock", "synchronised")
}

func (m *machine) hostname(context.Context, CheckOptions) []Finding {
	name := strings.ToLower(m.read("/proc/sys/kernel/hostname"))
	if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
		return fail("hostname", fmt.Sprintf("%q is no name of a node", name), "set another, or give --hostname-override: "+wrong[0])
	}
	return ok("hostname", "%s", name)
}
