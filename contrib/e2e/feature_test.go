package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"edgepod.dev/agent/contrib/e2e/node"
)

// report makes a pod whose container runs a script once and writes what it says into a host directory, then sleeps.
func report(t *testing.T, n *node.Node, name, script string) (p *v1.Pod, read func() string) {
	t.Helper()
	dir := filepath.Join(n.Dir, "out-"+name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	p = node.Pod(name, "{ "+script+"\n} >/out/tmp 2>&1; mv /out/tmp /out/done; "+node.Sleep)
	p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: "out", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: dir}}})
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: "out", MountPath: "/out"})
	return p, func() string {
		t.Helper()
		n.Apply(p)
		var said string
		n.Eventually("the report of pod "+name, func() string {
			b, err := os.ReadFile(filepath.Join(dir, "done"))
			if err != nil {
				return node.Describe(n.Pod(name))
			}
			said = string(b)
			return ""
		})
		return said
	}
}

func TestPodFeatures(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		// The features share a node, one after the other: each subtest is quick.
		for name, test := range map[string]func(*testing.T, *node.Node){
			"command, args and working directory": commandAndArgs,
			"environment with expansion":          environment,
			"emptyDir is shared and hostPath":     volumes,
			"limits reach the cgroup":             limits,
			"host network":                        hostNetwork,
			"hostname, hosts and resolv.conf":     nameFiles,
			"termination message":                 terminationMessage,
			"containers share the pod's network":  sharedNetwork,
			"QoS classes have their cgroups":      qosCgroups,
		} {
			t.Run(name, func(t *testing.T) {
				n.Use(t)
				test(t, n)
			})
		}
	})
}

func commandAndArgs(t *testing.T, n *node.Node) {
	p, said := report(t, n, "args", "")
	c := &p.Spec.Containers[0]
	c.Command = []string{"sh", "-c", `{ pwd; echo "$0|$1|$2"; } >/out/tmp; mv /out/tmp /out/done; exec sleep 3600`}
	c.Args, c.WorkingDir = []string{"zero", "one two", "$(NOT_SET)"}, "/tmp/made/by/runtime"
	if got, want := said(), "/tmp/made/by/runtime\nzero|one two|$(NOT_SET)\n"; got != want {
		t.Errorf("the container saw %q, want %q", got, want)
	}
}

func environment(t *testing.T, n *node.Node) {
	p, said := report(t, n, "env", `echo "$A|$B|$C|$D|$1"; hostname`)
	p.Spec.Containers[0].Env = []v1.EnvVar{
		{Name: "A", Value: "a"},
		{Name: "B", Value: "$(A)-b"},
		{Name: "C", Value: "$$(A) $(LATER)"},
		{Name: "LATER", Value: "later"},
		{Name: "D", Value: "$(B)$(B)"},
	}
	if got, want := said(), "a|a-b|$(A) $(LATER)|a-ba-b|\nenv\n"; got != want {
		t.Errorf("the container saw %q, want %q", got, want)
	}
}

func volumes(t *testing.T, n *node.Node) {
	p, said := report(t, n, "volumes", "while ! test -s /shared/word; do sleep 0.05; done; cat /shared/word; stat -c %a /shared; touch /shared/by-reader && echo writable; touch /ro/x 2>/dev/null || echo read-only")
	p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: "shared", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}})
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts,
		v1.VolumeMount{Name: "shared", MountPath: "/shared"}, v1.VolumeMount{Name: "shared", MountPath: "/ro", ReadOnly: true})
	p.Spec.Containers = append(p.Spec.Containers, v1.Container{
		Name: "writer", Image: node.Busybox, Command: []string{"sh", "-c", "echo hello >/data/word; exec sleep 3600"},
		VolumeMounts: []v1.VolumeMount{{Name: "shared", MountPath: "/data"}},
	})
	if got, want := said(), "hello\n777\nwritable\nread-only\n"; got != want {
		t.Errorf("the reader saw %q, want %q", got, want)
	}
}

// cgroupFile reads a limit of the pod's first process, in the name of cgroup v1 or v2.
func cgroupFile(t *testing.T, n *node.Node, name, controller, v1name, v2name string) string {
	t.Helper()
	p := n.WaitRunning(name)
	apps := node.Of(n.Apps(), string(p.UID))
	if len(apps) == 0 {
		t.Fatalf("pod %s has no process in a cgroup of its own: %v", name, n.Processes())
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", apps[0].PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		file := filepath.Join("/sys/fs/cgroup", controller, f[2], v1name)
		if f[1] == "" {
			file = filepath.Join("/sys/fs/cgroup", f[2], v2name)
		} else if !strings.Contains(","+f[1]+",", ","+controller+",") {
			continue
		}
		if b, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	t.Fatalf("no cgroup of pod %s holds %s or %s:\n%s", name, v1name, v2name, b)
	return ""
}

func limits(t *testing.T, n *node.Node) {
	p := node.Pod("limits", node.Sleep)
	p.Spec.Containers[0].Resources = v1.ResourceRequirements{
		Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("250m"), v1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   v1.ResourceList{v1.ResourceCPU: resource.MustParse("500m"), v1.ResourceMemory: resource.MustParse("64Mi")},
	}
	n.Apply(p)
	if got := cgroupFile(t, n, "limits", "memory", "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(64<<20) {
		t.Errorf("the memory limit is %s, want %d", got, 64<<20)
	}
	if got := cgroupFile(t, n, "limits", "cpu", "cpu.cfs_quota_us", "cpu.max"); got != "50000" && got != "50000 100000" {
		t.Errorf("the CPU limit is %q, want 50000 of 100000", got)
	}
	if got := cgroupFile(t, n, "limits", "cpu", "cpu.shares", "cpu.weight"); got != "256" && got != "10" {
		t.Errorf("the CPU weight is %q, want 256 shares", got)
	}
	// Too much memory: the kernel ends it, the agent says so and starts it again.
	n.Apply(hungry())
	got := n.Wait("hungry", "killed for memory", func(p *v1.Pod) bool {
		return p != nil && node.Container(p, "app").LastTerminationState.Terminated != nil
	})
	last := node.Container(got, "app").LastTerminationState.Terminated
	if last.Reason != "OOMKilled" || last.ExitCode != 137 {
		t.Errorf("the last state is %s with exit code %d, want OOMKilled with 137", last.Reason, last.ExitCode)
	}
}

func hungry() *v1.Pod {
	p := node.Pod("hungry", "")
	// One endless line, which tail keeps in memory.
	p.Spec.Containers[0].Command = []string{"tail", "/dev/zero"}
	p.Spec.Containers[0].Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("16Mi")}
	return p
}

func hostNetwork(t *testing.T, n *node.Node) {
	p, said := report(t, n, "hostnet", "ls /sys/class/net; readlink /proc/self/ns/net")
	p.Spec.HostNetwork = true
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if got := said(); !strings.HasSuffix(got, own+"\n") {
		t.Errorf("the container saw %q, want the host's network namespace %s", got, own)
	}
	if got := n.WaitRunning("hostnet").Status.PodIP; got == "" || strings.HasPrefix(got, n.Subnet) {
		t.Errorf("the pod's IP is %q, want an address of the host", got)
	}
}

func nameFiles(t *testing.T, n *node.Node) {
	p, said := report(t, n, "names", "hostname; echo --; cat /etc/hosts; echo --; cat /etc/resolv.conf; echo --; ls -l /proc/self/fd | wc -l >/dev/null")
	two := "2"
	p.Spec.Hostname, p.Spec.DNSPolicy = "other-name", v1.DNSNone
	p.Spec.HostAliases = []v1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"seven.test", "sept.test"}}}
	p.Spec.DNSConfig = &v1.PodDNSConfig{
		Nameservers: []string{"192.0.2.53"}, Searches: []string{"a.test", "b.test"},
		Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}},
	}
	parts := strings.Split(said(), "--\n")
	if parts[0] != "other-name\n" {
		t.Errorf("the hostname is %q, want other-name", parts[0])
	}
	ip := n.WaitRunning("names").Status.PodIP
	for _, want := range []string{`127\.0\.0\.1\s+localhost`, regexp.QuoteMeta(ip) + `\s+other-name`, `192\.0\.2\.7\s+seven\.test\s+sept\.test`} {
		if !regexp.MustCompile(want).MatchString(parts[1]) {
			t.Errorf("/etc/hosts has no line %s:\n%s", want, parts[1])
		}
	}
	for _, want := range []string{"nameserver 192.0.2.53\n", "search a.test b.test\n", "options ndots:2 edns0\n"} {
		if !strings.Contains(parts[2], want) {
			t.Errorf("/etc/resolv.conf has no line %q:\n%s", want, parts[2])
		}
	}
	_, said = report(t, n, "dnsdefault", "cat /etc/resolv.conf")
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	got := said()
	for line := range strings.Lines(string(host)) {
		if strings.HasPrefix(line, "nameserver") && !strings.Contains(got, strings.TrimSpace(line)) {
			t.Errorf("resolv.conf with dnsPolicy Default lacks the host's %q:\n%s", line, got)
		}
	}
}

func terminationMessage(t *testing.T, n *node.Node) {
	p := node.Pod("message", "echo -n 'the reason' >/dev/termination-log; exit 3")
	p.Spec.RestartPolicy = v1.RestartPolicyNever
	q := node.Pod("ownpath", "echo -n 'elsewhere' >/tmp/why; exit 4")
	q.Spec.RestartPolicy = v1.RestartPolicyNever
	q.Spec.Containers[0].TerminationMessagePath = "/tmp/why"
	n.Apply(p, q)
	for name, want := range map[string]string{"message": "the reason", "ownpath": "elsewhere"} {
		got := n.Wait(name, "failed", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodFailed })
		if term := node.Container(got, "app").State.Terminated; term == nil || term.Message != want || term.Reason != "Error" {
			t.Errorf("pod %s: the terminated state is %+v, want the message %q and reason Error", name, term, want)
		}
	}
}

func sharedNetwork(t *testing.T, n *node.Node) {
	p, said := report(t, n, "shared", "while ! wget -q -O - http://127.0.0.1:8080/ 2>/dev/null; do sleep 0.05; done; ls /dev/shm | grep mark || true")
	p.Spec.Containers = append(p.Spec.Containers, v1.Container{
		Name: "web", Image: node.Busybox,
		Command: []string{"sh", "-c", "mkdir /www; echo over loopback >/www/index.html; exec httpd -f -p 8080 -h /www"},
	})
	if got := said(); !strings.HasPrefix(got, "over loopback\n") {
		t.Errorf("one container got %q of the other over loopback", got)
	}
}

func qosCgroups(t *testing.T, n *node.Node) {
	res := func(limit string) v1.ResourceList {
		return v1.ResourceList{v1.ResourceCPU: resource.MustParse(limit), v1.ResourceMemory: resource.MustParse("16Mi")}
	}
	effort, burst, sure := node.Pod("effort", node.Sleep), node.Pod("burst", node.Sleep), node.Pod("sure", node.Sleep)
	burst.Spec.Containers[0].Resources.Requests = res("10m")
	sure.Spec.Containers[0].Resources.Limits = res("100m")
	n.Apply(effort, burst, sure)
	for name, want := range map[string]string{"effort": "/kubepods/besteffort/pod", "burst": "/kubepods/burstable/pod", "sure": "/kubepods/pod"} {
		p := n.WaitRunning(name)
		for _, app := range node.Of(n.Apps(), string(p.UID)) {
			if !strings.HasPrefix(app.Cgroup, want) {
				t.Errorf("pod %s (%s) runs in cgroup %s, want it below %s", name, p.Status.QOSClass, app.Cgroup, want)
			}
		}
	}
}
