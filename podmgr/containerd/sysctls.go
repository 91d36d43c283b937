package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
)

// safeSysctls are namespaced and have no influence on other pods: the kubelet's list (pkg/kubelet/sysctl). Whether the
// kernel has one in the namespace is seen when it is set.
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_notsent_lowat", "net.ipv4.tcp_rmem", "net.ipv4.tcp_slow_start_after_idle",
		"net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
	}
}

// checkUnsafeSysctls refuses patterns of --allowed-unsafe-sysctls that are not known to be namespaced, as the kubelet
// does: they would change the node.
func checkUnsafeSysctls(patterns []string) error {
	for _, p := range patterns {
		if ns, name, _ := sysctl.GetNamespace(p); ns == sysctl.UnknownNamespace || name == "" {
			return fmt.Errorf("reading --allowed-unsafe-sysctls: the sysctls %q are not known to be namespaced", p)
		}
	}
	return nil
}

// forbiddenSysctl returns the kubelet's words for the first sysctl of a pod that the node does not allow; empty: none.
func forbiddenSysctl(p *v1.Pod, unsafe []string) string {
	if p.Spec.SecurityContext == nil {
		return ""
	}
	for _, s := range p.Spec.SecurityContext.Sysctls {
		name := sysctl.NormalizeName(s.Name)
		if !slices.ContainsFunc(slices.Concat(safeSysctls(), unsafe), func(pattern string) bool {
			pattern = sysctl.NormalizeName(pattern)
			prefix, wild := strings.CutSuffix(pattern, "*")
			return pattern == name || wild && strings.HasPrefix(name, prefix)
		}) {
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted", name)
		}
		ns, _, _ := sysctl.GetNamespace(name)
		host := map[sysctl.Namespace]bool{
			sysctl.IPCNamespace: p.Spec.HostIPC, sysctl.NetNamespace: p.Spec.HostNetwork,
			// The kubelet leaves this one to the runtime, which refuses it too: the pod has the node's.
			sysctl.UTSNamespace:  p.Spec.HostNetwork,
			sysctl.UserNamespace: p.Spec.HostUsers == nil || *p.Spec.HostUsers,
		}
		if host[ns] {
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, ns)
		}
	}
	return ""
}

// podSysctls are a pod's sysctls by normalised name. Those of the network and host name are set when its namespaces are
// made. Those of its user namespace, and of the IPC namespace that such a one owns, only root of the user namespace may
// set: the runtime does when it makes the pause (inside).
func podSysctls(p *v1.Pod) (pinned []v1.Sysctl, inside map[string]string) {
	if p.Spec.SecurityContext == nil {
		return nil, nil
	}
	for _, s := range p.Spec.SecurityContext.Sysctls {
		name := sysctl.NormalizeName(s.Name)
		ns, _, _ := sysctl.GetNamespace(name)
		if ns != sysctl.UserNamespace && !(ns == sysctl.IPCNamespace && ownUsers(p)) {
			pinned = append(pinned, v1.Sysctl{Name: name, Value: s.Value})
			continue
		}
		if inside == nil {
			inside = map[string]string{}
		}
		inside[name] = s.Value
	}
	return pinned, inside
}

// sysctlPath is the file of a normalised name, in which a slash stands for a dot of an interface's name. Validation allows
// neither "." nor ".." as a part; a name that came past it leads nowhere else.
func sysctlPath(name string) (string, error) {
	path := strings.Map(func(c rune) rune {
		switch c {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return c
	}, name)
	if !filepath.IsLocal(path) || filepath.Clean(path) != path {
		return "", fmt.Errorf("setting sysctl %q: it is no name of a sysctl", name)
	}
	return filepath.Join("/proc/sys", path), nil
}

// setSysctls writes sysctls into the namespaces of the calling thread.
func setSysctls(list []v1.Sysctl) error {
	for _, s := range list {
		path, err := sysctlPath(s.Name)
		if err != nil {
			return err
		}
		err = os.WriteFile(path, []byte(s.Value), 0)
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("setting sysctl %q: this kernel does not have it in the pod's namespaces", s.Name)
		}
		if err != nil {
			return fmt.Errorf("setting sysctl %q to %q: %w", s.Name, s.Value, err)
		}
	}
	return nil
}
