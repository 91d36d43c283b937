package containerd

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestSysctlsOutsideTheListAreForbiddenInTheKubeletsWords(t *testing.T) {
	pod := func(change func(*v1.PodSpec), names ...string) *v1.Pod {
		p := &v1.Pod{Spec: v1.PodSpec{SecurityContext: &v1.PodSecurityContext{}}}
		for _, n := range names {
			p.Spec.SecurityContext.Sysctls = append(p.Spec.SecurityContext.Sysctls, v1.Sysctl{Name: n, Value: "1"})
		}
		if change != nil {
			change(&p.Spec)
		}
		return p
	}
	hostNet := func(s *v1.PodSpec) { s.HostNetwork = true }
	hostIPC := func(s *v1.PodSpec) { s.HostIPC = true }
	for _, c := range []struct {
		name   string
		pod    *v1.Pod
		unsafe []string
		want   string
	}{
		{"a pod without a security context", &v1.Pod{}, nil, ""},
		{"a safe one", pod(nil, "net.ipv4.tcp_syncookies"), nil, ""},
		{"a safe one written with slashes", pod(nil, "net/ipv4/tcp_syncookies"), nil, ""},
		{"one of the node", pod(nil, "vm.swappiness"), nil, `forbidden sysctl: "vm.swappiness" not allowlisted`},
		{"a namespaced one that is not safe", pod(nil, "net.core.somaxconn"), nil, `forbidden sysctl: "net.core.somaxconn" not allowlisted`},
		{"one that the node allows", pod(nil, "net.core.somaxconn"), []string{"net.core.somaxconn"}, ""},
		{"one of a pattern that the node allows", pod(nil, "kernel.msgmax"), []string{"kernel.msg*"}, ""},
		{"one beside that pattern", pod(nil, "kernel.sem"), []string{"kernel.msg*"}, `forbidden sysctl: "kernel.sem" not allowlisted`},
		{"the network's with hostNetwork", pod(hostNet, "net.ipv4.tcp_syncookies"), nil, `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled`},
		{"IPC's with hostIPC", pod(hostIPC, "kernel.shm_rmid_forced"), nil, `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled`},
		{"the user namespace's in the node's", pod(nil, "user.max_net_namespaces"), []string{"user.*"}, `forbidden sysctl: "user.max_net_namespaces" not allowed with host User enabled`},
		{"the host name's with hostNetwork", pod(hostNet, "kernel.domainname"), []string{"kernel.domainname"}, `forbidden sysctl: "kernel.domainname" not allowed with host UTS enabled`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := forbiddenSysctl(c.pod, c.unsafe); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestOnlyNamespacedSysctlsCanBeAllowed(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"net.core.somaxconn": true, "kernel.msg*": true, "net.*": true, "user.*": true,
		"vm.*": false, "*": false, "kernel.*": false, "fs.file-max": false, "": false,
	} {
		if err := checkUnsafeSysctls([]string{pattern}); (err == nil) != ok {
			t.Errorf("allowing %q: %v", pattern, err)
		}
	}
}

func TestTheNameOfASysctlLeadsNowhereElse(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.conf.eno2/100.rp_filter": "/proc/sys/net/ipv4/conf/eno2.100/rp_filter",
		"kernel.shm_rmid_forced":           "/proc/sys/kernel/shm_rmid_forced",
		"net.//.//.self.attr.current":      "",
		"net.//.kernel.hostname":           "",
		"net..ipv4":                        "",
		"":                                 "",
		".net":                             "",
	} {
		got, err := sysctlPath(name)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q (%v), want %q", name, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "no name of a sysctl") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
