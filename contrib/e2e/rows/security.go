package rows

import (
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// capability is the bit of a capability (linux/capability.h).
const (
	capChown    = 0
	capNetAdmin = 12
)

func securityRows() []Row {
	const pod, own = "spec.securityContext.", Both + "securityContext."
	status := func(key, want string) func(*X) {
		return func(x *X) { x.Want(key, x.ProcStatus(key), want) }
	}
	refused := func(p *v1.Pod) bool { return waiting(p, "app") == "CreateContainerConfigError" }
	none := func(x *X) {
		if n := x.processes("sleep"); len(n) > 0 && !x.Side {
			x.Errorf("the container runs: %q", n)
		}
		if x.exists("said") {
			x.Errorf("the container has run")
		}
	}
	return []Row{
		{
			Name: "the pod's user and groups", Fields: each(pod, "runAsUser", "runAsGroup", "supplementalGroups", "fsGroup", "fsGroupChangePolicy"),
			Pod:       "{securityContext: {runAsUser: 1001, runAsGroup: 1002, supplementalGroups: [1003, 1004], fsGroup: 1005, fsGroupChangePolicy: OnRootMismatch}, volumes: [{name: v, emptyDir: {}}]}",
			Container: "volumeMounts: [{name: v, mountPath: /v}]",
			Script:    "id -u; id -g; touch /v/f; stat -c '%u %g' /v/f; stat -c '%A %g' /v", Says: "1001\n1002\n1001 1005\ndrwxrwsrwx 1005",
			Look: func(x *X) {
				x.Want("Uid", x.ProcStatus("Uid"), "1001 1001 1001 1001")
				x.Want("Gid", x.ProcStatus("Gid"), "1002 1002 1002 1002")
				x.Want("Groups", x.ProcStatus("Groups"), "1002 1003 1004 1005")
			},
		},
		{
			Name: "the container's user comes before the pod's", Fields: each(own, "runAsUser", "runAsGroup"),
			Pod: "securityContext: {runAsUser: 1001, runAsGroup: 1002}", Container: "securityContext: {runAsUser: 2001, runAsGroup: 2002}",
			Look: func(x *X) {
				x.Want("Uid", x.ProcStatus("Uid"), "2001 2001 2001 2001")
				x.Want("Gid", x.ProcStatus("Gid"), "2002 2002 2002 2002")
			},
		},
		{
			Name: "runAsNonRoot of the pod refuses root", Fields: each(pod, "runAsNonRoot"),
			Pod: "securityContext: {runAsNonRoot: true}", Script: "echo ran", Until: refused, Look: none,
		},
		{
			Name: "runAsNonRoot of the container refuses root", Fields: each(own, "runAsNonRoot"),
			Container: "securityContext: {runAsNonRoot: true}", Script: "echo ran", Until: refused, Look: none,
		},
		{
			Name: "runAsNonRoot lets another user run", Fields: append(each(own, "runAsNonRoot"), pod+"runAsNonRoot"),
			Pod: "securityContext: {runAsNonRoot: false}", Container: "securityContext: {runAsNonRoot: true, runAsUser: 7}", Look: status("Uid", "7 7 7 7"),
		},
		{
			Name: "capabilities are added and dropped", Fields: each(own+"capabilities.", "add", "drop"),
			Container: "securityContext: {capabilities: {add: [NET_ADMIN], drop: [CHOWN]}}",
			Script:    "ip link set lo mtu 1400 && cat /sys/class/net/lo/mtu; chown 7 /tmp || echo no", Says: "1400\nchown: /tmp: Operation not permitted\nno",
			Look: func(x *X) {
				eff, _ := strconv.ParseUint(x.ProcStatus("CapEff"), 16, 64)
				if eff&(1<<capNetAdmin) == 0 || eff&(1<<capChown) != 0 {
					x.Errorf("the effective capabilities are %x", eff)
				}
			},
		},
		{
			Name: "all capabilities can be dropped", Fields: each(own+"capabilities.", "drop"),
			Container: "securityContext: {capabilities: {drop: [ALL]}}", Look: status("CapEff", "0000000000000000"),
		},
		{
			Name: "a privileged container may do what root may", Fields: each(own, "privileged"),
			Container: "securityContext: {privileged: true}", Script: "mkdir /mnt; mount -t tmpfs none /mnt && echo mounted; test -c /dev/kmsg && echo devices", Says: "mounted\ndevices",
			Look: func(x *X) {
				x.Want("Seccomp", x.ProcStatus("Seccomp"), "0")
				x.Want("NoNewPrivs", x.ProcStatus("NoNewPrivs"), "0")
			},
		},
		{
			Name: "a read-only root", Fields: each(own, "readOnlyRootFilesystem"),
			Container: "securityContext: {readOnlyRootFilesystem: true}", Script: "touch /x 2>/dev/null || echo no", Says: "no",
			Look: func(x *X) { x.Contains("the mount of /", x.Mount("/"), " / ro") },
		},
		{
			Name: "no new privileges", Fields: each(own, "allowPrivilegeEscalation"),
			Container: "securityContext: {allowPrivilegeEscalation: false}", Look: status("NoNewPrivs", "1"),
		},
		{
			Name: "seccomp is on unless it is unconfined", Fields: each(own, "seccompProfile"),
			Pod:       "securityContext: {seccompProfile: {type: Unconfined}}",
			Container: "securityContext: {seccompProfile: {type: RuntimeDefault}}", Look: status("Seccomp", "2"),
		},
		{
			Name: "the container may be unconfined", Fields: each(own, "seccompProfile"),
			Container: "securityContext: {seccompProfile: {type: Unconfined}}", Look: status("Seccomp", "0"),
		},
		{
			Name: "the pod may be unconfined", Fields: each(pod, "seccompProfile"),
			Pod: "securityContext: {seccompProfile: {type: Unconfined}}", Look: status("Seccomp", "0"),
		},
		{
			Name: "supplementary groups of the image can be left out", Fields: each(pod, "supplementalGroupsPolicy"),
			Pod: "securityContext: {runAsUser: 1001, runAsGroup: 1002, supplementalGroups: [1003], supplementalGroupsPolicy: Strict}", Look: status("Groups", "1002 1003"),
		},
		{
			Name: "sysctls of the pod's namespaces", Fields: each(pod, "sysctls"),
			Pod:    "securityContext: {sysctls: [{name: net.ipv4.ip_local_port_range, value: 20000 20100}, {name: kernel.shm_rmid_forced, value: '1'}]}",
			Script: "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced", Says: "20000\t20100\n1",
		},
		{
			Name: "security fields", Test: "TestSecurityFieldsReachTheKernel",
			Fields: slices.Concat([]string{"spec.hostUsers", "spec.runtimeClassName"},
				each(pod, "supplementalGroupsPolicy", "sysctls", "seccompProfile", "appArmorProfile", "seLinuxOptions"),
				each(own, "seccompProfile", "appArmorProfile", "seLinuxOptions", "procMount"), each("spec.initContainers[*].securityContext.", "procMount")),
		},
		{
			Name: "SELinux options do no harm where there is none", Fields: append(each(pod, "seLinuxOptions", "seLinuxChangePolicy"), own+"seLinuxOptions"),
			Pod: "securityContext: {seLinuxOptions: {level: 's0:c1,c2'}, seLinuxChangePolicy: Recursive}", Container: "securityContext: {seLinuxOptions: {level: 's0:c3,c4'}}",
			Script: "echo runs", Says: "runs",
		},
		{
			Name: "without a word the default holds", Fields: each(own, "allowPrivilegeEscalation", "privileged"),
			Script: "mkdir /mnt; mount -t tmpfs none /mnt 2>/dev/null || echo no; ls /dev | grep -c kmsg", Says: "no\n0",
			Look: func(x *X) {
				x.Want("Seccomp", x.ProcStatus("Seccomp"), "2")
				if eff := strings.TrimLeft(x.ProcStatus("CapEff"), "0"); eff != "a80425fb" {
					x.Errorf("the effective capabilities are %s, want Docker's default a80425fb", eff)
				}
			},
		},
	}
}
