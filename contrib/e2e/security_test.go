package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// securityCase is a pod whose only container looks at itself and ends: what it says is what the kernel did with a field.
type securityCase struct {
	name   string
	script string
	change func(*v1.PodSpec)
	want   []string // of its log
	not    []string
	// waits and fails are set for a pod that must not run: its container's reason, or the pod's, and a part of the message.
	waits, fails, message string
	// blocked is set for a pod that gets no sandbox: a part of the message.
	blocked string
}

// group of the status file of the kernel.
const statusFile = "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd|Groups|Uid):' /proc/self/status; "

func podSecurity(s *v1.PodSpec) *v1.PodSecurityContext {
	if s.SecurityContext == nil {
		s.SecurityContext = &v1.PodSecurityContext{}
	}
	return s.SecurityContext
}

func appSecurity(s *v1.PodSpec) *v1.SecurityContext {
	c := &s.Containers[0]
	if c.SecurityContext == nil {
		c.SecurityContext = &v1.SecurityContext{}
	}
	return c.SecurityContext
}

func sysctls(pairs ...string) func(*v1.PodSpec) {
	return func(s *v1.PodSpec) {
		for i := 0; i < len(pairs); i += 2 {
			podSecurity(s).Sysctls = append(podSecurity(s).Sysctls, v1.Sysctl{Name: pairs[i], Value: pairs[i+1]})
		}
	}
}

func localSeccomp(name string) func(*v1.PodSpec) {
	return func(s *v1.PodSpec) {
		appSecurity(s).SeccompProfile = &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost, LocalhostProfile: &name}
	}
}

func capabilityCases() []securityCase {
	caps := func(add, drop string) func(*v1.PodSpec) {
		return func(s *v1.PodSpec) {
			appSecurity(s).Capabilities = &v1.Capabilities{}
			if add != "" {
				appSecurity(s).Capabilities.Add = []v1.Capability{v1.Capability(add)}
			}
			if drop != "" {
				appSecurity(s).Capabilities.Drop = []v1.Capability{v1.Capability(drop)}
			}
		}
	}
	return []securityCase{
		{name: "caps-default", script: statusFile, want: []string{"CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "NoNewPrivs:\t0", "Seccomp:\t2"}},
		{name: "caps-none", script: statusFile, change: caps("", "ALL"), want: []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"}},
		{name: "caps-one", script: statusFile, change: caps("NET_ADMIN", "ALL"), want: []string{"CapEff:\t0000000000001000"}},
		{name: "caps-added", script: statusFile, change: caps("CAP_SYS_TIME", ""), want: []string{"CapEff:\t00000000aa0425fb"}},
		{
			name: "privileged", change: func(s *v1.PodSpec) { appSecurity(s).Privileged = new(true) },
			script: statusFile + "ls /dev/kmsg && echo devices; mkdir /mnt; mount -t tmpfs x /mnt && echo mounts; echo 1 > /proc/sys/net/ipv4/ip_forward && echo writes; ls /sys/firmware | wc -l",
			want:   []string{"Seccomp:\t0", "devices", "mounts", "writes"}, not: []string{"00000000a80425fb"},
		},
		{
			name: "no-new-privileges", script: statusFile, want: []string{"NoNewPrivs:\t1"},
			change: func(s *v1.PodSpec) { appSecurity(s).AllowPrivilegeEscalation = new(false) },
		},
		{
			name: "read-only-root", script: "touch /x || echo refused; touch /dev/shm/y && echo shm",
			change: func(s *v1.PodSpec) { appSecurity(s).ReadOnlyRootFilesystem = new(true) }, want: []string{"refused", "shm"},
		},
		{
			name: "masked-paths", script: "cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware | grep -vc : ; echo x > /proc/sysrq-trigger || echo read-only; echo 1 > /proc/sys/kernel/sysrq || echo read-only-sys; grep -c ' /proc/keys ' /proc/mounts",
			want: []string{"0\n", "read-only\n", "read-only-sys\n", "\n1\n"},
		},
	}
}

func userCases() []securityCase {
	strict := v1.SupplementalGroupsPolicyStrict
	merge := v1.SupplementalGroupsPolicyMerge
	groups := func(policy *v1.SupplementalGroupsPolicy) func(*v1.PodSpec) {
		return func(s *v1.PodSpec) {
			podSecurity(s).SupplementalGroups, podSecurity(s).SupplementalGroupsPolicy = []int64{4242}, policy
			podSecurity(s).RunAsUser, podSecurity(s).RunAsGroup = new(int64(1000)), new(int64(3000))
			s.Containers[0].Image = groupsImage
		}
	}
	nonRoot := func(image string, user *int64) func(*v1.PodSpec) {
		return func(s *v1.PodSpec) {
			appSecurity(s).RunAsNonRoot, appSecurity(s).RunAsUser = new(true), user
			s.Containers[0].Image = image
		}
	}
	return []securityCase{
		{name: "groups-merge", script: "id; " + statusFile, change: groups(&merge), want: []string{"uid=1000", "gid=3000", "Groups:\t3000 4242 50000 \n"}},
		{name: "groups-default", script: statusFile, change: groups(nil), want: []string{"Groups:\t3000 4242 50000 \n"}},
		{name: "groups-strict", script: statusFile, change: groups(&strict), want: []string{"Groups:\t3000 4242 \n"}},
		{name: "non-root-is-root", change: nonRoot(node.Busybox, nil), waits: "CreateContainerConfigError", message: "container has runAsNonRoot and image will run as root (pod: \"non-root-is-root_default("},
		{name: "non-root-zero", change: nonRoot(node.Busybox, new(int64(0))), waits: "CreateContainerConfigError", message: "container's runAsUser breaks non-root policy (pod: \"non-root-zero_default("},
		{name: "non-root-name", change: nonRoot(namedUserImage, nil), waits: "CreateContainerConfigError", message: "container has runAsNonRoot and image has non-numeric user (alice), cannot verify user is non-root"},
		{name: "non-root-number", script: "id -u", change: nonRoot(groupsImage, new(int64(1000))), want: []string{"1000\n"}},
	}
}

func profileCases() []securityCase {
	appArmor := func(kind v1.AppArmorProfileType) func(*v1.PodSpec) {
		return func(s *v1.PodSpec) { podSecurity(s).AppArmorProfile = &v1.AppArmorProfile{Type: kind} }
	}
	unconfined := func(s *v1.PodSpec) {
		podSecurity(s).SeccompProfile = &v1.SeccompProfile{Type: v1.SeccompProfileTypeUnconfined}
	}
	const mkdir = "mkdir /made && echo it was made || echo refused; " + statusFile
	cases := []securityCase{
		{name: "seccomp-unconfined", script: statusFile, change: unconfined, want: []string{"Seccomp:\t0"}},
		{name: "seccomp-local", script: mkdir, change: localSeccomp("profiles/no-mkdir.json"), want: []string{"refused", "Seccomp:\t2"}, not: []string{"it was made"}},
		{name: "seccomp-missing", change: localSeccomp("none.json"), waits: "CreateContainerError", message: "seccomp/none.json"},
		{name: "seccomp-link-out", change: localSeccomp("out.json"), waits: "CreateContainerError", message: "seccomp/out.json"},
		{name: "apparmor-unconfined", script: "echo ran", change: appArmor(v1.AppArmorProfileTypeUnconfined), want: []string{"ran"}},
		// These options reach the kernel where there is SELinux, and change nothing where there is none, as with containerd's CRI.
		{
			name: "selinux", script: "cat /proc/self/attr/current 2>/dev/null; echo ran", want: []string{"ran"},
			change: func(s *v1.PodSpec) { podSecurity(s).SELinuxOptions = &v1.SELinuxOptions{Level: "s0:c1,c2"} },
		},
	}
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil && strings.HasPrefix(string(b), "Y") {
		return append(cases, securityCase{
			name: "apparmor-default", script: "cat /proc/self/attr/current", change: appArmor(v1.AppArmorProfileTypeRuntimeDefault),
			want: []string{"edgepod-agent-default (enforce)"},
		})
	}
	return append(cases, securityCase{
		name: "apparmor-default", change: appArmor(v1.AppArmorProfileTypeRuntimeDefault), fails: "AppArmor",
		message: "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host",
	})
}

func sysctlCases() []securityCase {
	return []securityCase{
		{
			name: "sysctls", change: sysctls("net.ipv4.ip_local_port_range", "20000 20100", "kernel.shm_rmid_forced", "1", "net.core.somaxconn", "77"),
			script: "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced /proc/sys/net/core/somaxconn",
			want:   []string{"20000\t20100\n1\n77\n"},
		},
		{name: "sysctl-of-the-node", change: sysctls("vm.swappiness", "1"), fails: "SysctlForbidden", message: `Pod was rejected: forbidden sysctl: "vm.swappiness" not allowlisted`},
		{name: "sysctl-not-allowed", change: sysctls("net.ipv4.ip_forward", "1"), fails: "SysctlForbidden", message: `forbidden sysctl: "net.ipv4.ip_forward" not allowlisted`},
	}
}

func namespaceCases() []securityCase {
	return []securityCase{
		{name: "own-pids", script: "echo pid $$$$; ls -d /proc/[0-9]* | wc -l", want: []string{"pid 1\n"}},
		{
			name: "host-pid", script: "(readlink /proc/1/ns/pid; readlink /proc/self/ns/pid) | uniq | wc -l; cat /proc/2/comm", want: []string{"1\n", "kthreadd"},
			change: func(s *v1.PodSpec) { s.HostPID = true; appSecurity(s).Privileged = new(true) },
		},
		{name: "host-ipc", script: "readlink /proc/self/ns/ipc", change: func(s *v1.PodSpec) { s.HostIPC = true }, want: []string{nsLink("ipc")}},
		{name: "own-ipc", script: "readlink /proc/self/ns/ipc; echo ran", want: []string{"ran"}, not: []string{nsLink("ipc")}},
		{
			name: "shared-pids", script: "cat /proc/1/comm; echo me $$$$", change: func(s *v1.PodSpec) { s.ShareProcessNamespace = new(true) },
			want: []string{"pause\n"}, not: []string{"me 1\n"},
		},
	}
}

func nsLink(kind string) string {
	s, err := os.Readlink("/proc/self/ns/" + kind)
	if err != nil {
		return err.Error()
	}
	return s
}

// usersScript says how the container's IDs are mapped, who owns what it sees, and whether it can change what it owns.
const usersScript = "set -x; read a b c < /proc/self/uid_map; echo map $a $c $((b % 65536)) $((b > 0)); id -u; stat -c '%U:%G %n' /bin/busybox /secret/key /data /etc/hosts; cat /secret/key; " +
	"touch /data/mine /mine && chown 1000:1000 /data/mine && stat -c 'own %u:%g' /data/mine; mount -t tmpfs x /tmp && echo mounted; " +
	"cat /proc/sys/kernel/shm_rmid_forced; readlink /proc/self/ns/user; grep -o ' /proc/keys ' /proc/mounts"

func usersCases(supported bool) []securityCase {
	own := func(s *v1.PodSpec) {
		s.HostUsers = new(false)
		sysctls("kernel.shm_rmid_forced", "1", "net.ipv4.ip_local_port_range", "20000 20100")(s)
		s.Volumes = []v1.Volume{
			{Name: "data", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
			{Name: "secret", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "for-users", DefaultMode: new(int32(0o400))}}},
		}
		s.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "secret", MountPath: "/secret"}}
		appSecurity(s).Capabilities = &v1.Capabilities{Add: []v1.Capability{"SYS_ADMIN"}}
	}
	unmasked := func(s *v1.PodSpec) {
		s.HostUsers = new(false)
		appSecurity(s).ProcMount = new(v1.UnmaskedProcMount)
	}
	if !supported {
		return []securityCase{{name: "users", change: own, blocked: "can not set `hostUsers: false`: containerd's snapshotter overlayfs cannot map IDs"}}
	}
	return []securityCase{
		{
			name: "users", script: usersScript, change: own, not: []string{nsLink("user")},
			want: []string{"map 0 65536 0 1\n", "\n0\n", "root:root /bin/busybox", "root:root /secret/key", "root:root /data", "hidden", "own 1000:1000", "mounted", "\n1\n", " /proc/keys "},
		},
		{
			name: "users-too-high", change: func(s *v1.PodSpec) { s.HostUsers = new(false); appSecurity(s).RunAsUser = new(int64(70000)) },
			waits: "CreateContainerConfigError", message: "ID 70000 is not among the 65536",
		},
		{name: "proc-unmasked", script: "grep -c ' /proc/' /proc/mounts; echo x > /proc/sysrq-trigger || echo kept", change: unmasked, want: []string{"0\n", "kept"}},
	}
}

func classCases() []securityCase {
	class := func(name string) func(*v1.PodSpec) { return func(s *v1.PodSpec) { s.RuntimeClassName = &name } }
	return []securityCase{
		{name: "class", script: "echo ran", change: class("noting"), want: []string{"ran"}},
	}
}

// mountCases look at mounts of shared, a directory that is a shared mount with another one below it.
func mountCases(shared string) []securityCase {
	mounted := func(change func(*v1.VolumeMount)) func(*v1.PodSpec) {
		return func(s *v1.PodSpec) {
			s.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: shared}}}}
			m := v1.VolumeMount{Name: "v", MountPath: "/v"}
			change(&m)
			s.Containers[0].VolumeMounts = []v1.VolumeMount{m}
		}
	}
	rro := func(mode v1.RecursiveReadOnlyMode) func(*v1.PodSpec) {
		return mounted(func(m *v1.VolumeMount) { m.ReadOnly, m.RecursiveReadOnly = true, &mode })
	}
	propagation := func(mode v1.MountPropagationMode, privileged bool) func(*v1.PodSpec) {
		return func(s *v1.PodSpec) {
			mounted(func(m *v1.VolumeMount) { m.MountPropagation = &mode })(s)
			appSecurity(s).Privileged = &privileged
		}
	}
	const touch = "touch /v/a 2>/dev/null && echo top-rw || echo top-ro; touch /v/below/a 2>/dev/null && echo below-rw || echo below-ro"
	const show = "grep ' /v ' /proc/self/mountinfo"
	return []securityCase{
		{name: "mount-rw", script: touch, change: mounted(func(*v1.VolumeMount) {}), want: []string{"top-rw", "below-rw"}},
		{name: "mount-ro", script: touch, change: mounted(func(m *v1.VolumeMount) { m.ReadOnly = true }), want: []string{"top-ro", "below-rw"}},
		{name: "mount-rro-disabled", script: touch, change: rro(v1.RecursiveReadOnlyDisabled), want: []string{"top-ro", "below-rw"}},
		{name: "mount-rro-enabled", script: touch, change: rro(v1.RecursiveReadOnlyEnabled), want: []string{"top-ro", "below-ro"}},
		{name: "mount-rro-if-possible", script: touch, change: rro(v1.RecursiveReadOnlyIfPossible), want: []string{"top-ro", "below-ro"}},
		{name: "mount-private", script: show, change: propagation(v1.MountPropagationNone, false), want: []string{" /v "}, not: []string{"shared:", "master:"}},
		{name: "mount-slave", script: show, change: propagation(v1.MountPropagationHostToContainer, false), want: []string{"master:"}, not: []string{"shared:"}},
		{
			name: "mount-shared", script: show + "; mkdir -p /v/from-inside && mount -t tmpfs x /v/from-inside && touch /v/from-inside/seen",
			change: propagation(v1.MountPropagationBidirectional, true), want: []string{"shared:"},
		},
	}
}

const (
	groupsImage    = "edgepod.dev/groups:1"
	namedUserImage = "edgepod.dev/named:1"
)

// TestSecurityFieldsReachTheKernel runs a pod for each field, all on one node, and reads what its container sees.
func TestSecurityFieldsReachTheKernel(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		shared := sharedMount(t, n)
		writeSeccompProfiles(t, filepath.Join(n.Root(), "seccomp"))
		dropBusybox(t, n, groupsImage, userFiles(), "")
		dropBusybox(t, n, namedUserImage, userFiles(), "alice")
		// Who is root in a user namespace is nobody here: the way to the containers' root filesystems has to be open.
		if err := os.Chmod(n.Dir, 0o711); err != nil {
			t.Fatal(err)
		}
		n.Args = append(n.Args, "--runtime-class", "noting=io.containerd.runc.v2:"+notingRuntime(t, n.Dir))
		n.Write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: for-users}\nstringData: {key: hidden}\n")
		n.Start()
		var cases []securityCase
		for _, list := range [][]securityCase{
			capabilityCases(), userCases(), profileCases(), sysctlCases(), namespaceCases(), mountCases(shared), usersCases(n.Engine == node.Embedded),
			classCases(),
		} {
			cases = append(cases, list...)
		}
		runSecurityCases(t, n, cases)
		if b, err := os.ReadFile(filepath.Join(n.Dir, "noted")); err != nil || !strings.Contains(string(b), "create") {
			t.Errorf("the runtime of the class was not asked to create a container: %q, %v", b, err)
		}
		checkUnknownClass(t, n)
		if !fileExists(filepath.Join(shared, "from-inside", "seen")) {
			t.Error("a mount made in a container with Bidirectional propagation did not reach the node")
		}
		if n.Engine == node.Embedded {
			checkUsersStay(t, n)
		}
	}, "--allowed-unsafe-sysctls", "net.core.somaxconn")
}

// checkUnknownClass changes the class of a pod that runs to one that the node has not: the file is refused, and the pod stays.
func checkUnknownClass(t *testing.T, n *node.Node) {
	t.Helper()
	p := node.Pod("class-stays", node.Sleep)
	p.Spec.RuntimeClassName = new("noting")
	n.Apply(p)
	n.WaitRunning("class-stays")
	n.Settle()
	before := n.Processes()
	p.Spec.RuntimeClassName = new("unheard-of")
	n.Apply(p)
	n.Eventually("the unknown class to be shown", func() string {
		for _, p := range n.Problems() {
			if filepath.Base(p.File) == "class-stays.yaml" && p.Line > 1 && p.Field == "spec.runtimeClassName" && p.Kept &&
				strings.Contains(p.Message, `runtimeclass.node.k8s.io "unheard-of" not found`) {
				return ""
			}
		}
		return fmt.Sprintf("%+v", n.Problems())
	})
	same(t, "an unknown runtime class", before, n.Processes())
	out, _, code := n.Agent("validate", filepath.Join(n.Manifests(), "class-stays.yaml"))
	if code != 1 || !strings.Contains(out, "this node has noting") {
		t.Errorf("validate said %q and ended with %d", out, code)
	}
}

// checkUsersStay has a pod with users of its own keep them over a restart of the agent, and over one of its container after
// that.
func checkUsersStay(t *testing.T, n *node.Node) {
	t.Helper()
	p := node.Pod("users-stay", "echo $(cat /proc/self/uid_map); "+node.Sleep)
	p.Spec.HostUsers = new(false)
	n.Apply(p)
	n.WaitRunning("users-stay")
	n.Settle()
	before, said := n.Processes(), n.MustAgent("logs", "users-stay")
	if !strings.HasSuffix(said, " 65536\n") {
		t.Errorf("the container's IDs are mapped %q", said)
	}
	n.Kill()
	n.Start()
	n.WaitRunning("users-stay")
	same(t, "a restart of the agent", before, n.Processes())
	n.Agent("exec", "users-stay", "--", "kill", "1") // and it ends with its container
	n.Wait("users-stay", "restarted", func(p *v1.Pod) bool { return node.Ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if again := n.MustAgent("logs", "users-stay"); again != said {
		t.Errorf("after a restart the container's IDs are mapped %q, before %q", again, said)
	}
}

// runSecurityCases applies the pods of all cases and then looks at each.
func runSecurityCases(t *testing.T, n *node.Node, cases []securityCase) {
	t.Helper()
	for _, c := range cases {
		p := node.Pod(c.name, c.script)
		p.Spec.RestartPolicy = v1.RestartPolicyNever
		if c.change != nil {
			c.change(&p.Spec)
		}
		n.Apply(p)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n.Use(t)
			switch {
			case c.blocked != "":
				n.Eventually("no sandbox: "+c.blocked, func() string {
					p := n.Pod(c.name)
					if p == nil || len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
						return node.Describe(p)
					}
					if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, c.blocked) {
						return m
					}
					return ""
				})
			case c.fails == "any":
				n.Wait(c.name, "failed", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodFailed })
			case c.fails != "":
				p := n.Wait(c.name, "rejected: "+c.fails, func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodFailed })
				if p.Status.Reason != c.fails || !strings.Contains(p.Status.Message, c.message) {
					t.Errorf("the pod failed with %s: %s, want %s: %s", p.Status.Reason, p.Status.Message, c.fails, c.message)
				}
			case c.waits != "":
				waiting(n, c.name, c.waits, "ImagePullBackOff")
				if m := n.Pod(c.name).Status.ContainerStatuses[0].State.Waiting; m == nil || !strings.Contains(m.Message, c.message) || len(m.Message) > 2000 {
					t.Errorf("the container waits: %v, want %q", m, c.message)
				}
			default:
				n.Wait(c.name, "ended", func(p *v1.Pod) bool {
					return p != nil && (p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed)
				})
				out := n.MustAgent("logs", c.name)
				for _, w := range c.want {
					if !strings.Contains(out, w) {
						t.Errorf("the container did not say %q; it said\n%s", w, out)
					}
				}
				for _, w := range c.not {
					if strings.Contains(out, w) {
						t.Errorf("the container said %q:\n%s", w, out)
					}
				}
			}
		})
	}
}

// notingRuntime is runc behind a script that notes what it is asked.
func notingRuntime(t *testing.T, dir string) string {
	t.Helper()
	script := filepath.Join(dir, "noting-runc")
	text := "#!/bin/sh\necho \"$@\" >> " + filepath.Join(dir, "noted") + "\nexec runc \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

// sharedMount makes a directory that is a shared mount, with a tmpfs below it.
func sharedMount(t *testing.T, n *node.Node) string {
	t.Helper()
	dir := filepath.Join(n.Dir, "shared")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{filepath.Join(dir, "from-inside"), filepath.Join(dir, "below"), dir} {
			_ = unix.Unmount(d, unix.MNT_DETACH)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeSeccompProfiles(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "profiles"), 0o755); err != nil {
		t.Fatal(err)
	}
	profile := `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`
	for _, file := range []string{filepath.Join(dir, "profiles", "no-mkdir.json"), filepath.Join(filepath.Dir(dir), "outside.json")} {
		if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside.json", filepath.Join(dir, "out.json")); err != nil {
		t.Fatal(err)
	}
}
