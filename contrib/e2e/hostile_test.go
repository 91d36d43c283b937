package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
	"edgepod.dev/agent/contrib/image"
)

// hostileCase is an image that wants what it may not have, in a pod that runs it.
type hostileCase struct {
	securityCase
	config func(*ggcr.Config)
	// entries are laid over the busybox image as they are.
	entries []entry
}

type entry struct {
	tar.Header
	data string
}

func link(name, to string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}}
}

func file(name, data string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}, data: data}
}

func user(u string) func(*ggcr.Config) { return func(c *ggcr.Config) { c.User = u } }

// refusedUser is a case of an image whose USER keeps it from running.
func refusedUser(name, u, message string, entries ...entry) hostileCase {
	return hostileCase{
		securityCase: securityCase{name: "user-" + name, waits: "CreateContainerConfigError", message: message}, config: user(u), entries: entries,
	}
}

// refusedImage is a case of an image that is not used at all.
func refusedImage(name, message string, config func(*ggcr.Config), entries ...entry) hostileCase {
	return hostileCase{securityCase: securityCase{name: name, waits: "ErrImagePull", message: message}, config: config, entries: entries}
}

func runs(name, script string, want []string, not []string, config func(*ggcr.Config), entries ...entry) hostileCase {
	return hostileCase{securityCase: securityCase{name: name, script: script, want: want, not: not}, config: config, entries: entries}
}

// userCasesOfImages: CVE-2024-40635 (numbers that wrap to root), CVE-2022-2995 and CVE-2023-25173 (groups), user files that
// lead out of the image. The canary user is only in files of the node.
func userCasesOfImages(canary string) []hostileCase {
	big := strings.Repeat("x:x:7:7::/:/bin/sh\n", 70_000)
	var groups strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&groups, "g%d:x:%d:alice\n", i, 2000+i)
	}
	passwd := "root:x:0:0::/:\nalice:x:1000:1000::/:\nhuge:x:4294967296:0::/:\nmost:x:4294967295:0::/:\n"
	return []hostileCase{
		refusedUser("wraps", "4294967296", "out of range"),
		refusedUser("wraps-64", "18446744073709551616", "is not in its /etc/passwd"),
		refusedUser("most", "4294967295", "out of range"),
		refusedUser("above-int32", "2147483648", "out of range"),
		refusedUser("negative", "-1", "out of range"),
		refusedUser("group-wraps", "1000:4294967296", "out of range"),
		refusedUser("unknown", "nobody-here", "is not in its /etc/passwd"),
		refusedUser("path", "../../etc/shadow", "is not in its /etc/passwd"),
		refusedUser("file-wraps", "huge", "", file("etc/passwd", passwd)),
		refusedUser("file-most", "most", "out of range", file("etc/passwd", passwd)),
		refusedUser("file-is-link-out", "canary", "is not in its /etc/passwd", link("etc/passwd", canary)),
		refusedUser("file-is-link-up", "canary", "is not in its /etc/passwd", link("etc/passwd", "../../../../../../../.."+canary)),
		refusedUser("dir-is-link-out", "canary", "is not in its /etc/passwd",
			entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: ".wh.etc"}}, link("etc", filepath.Dir(canary))),
		refusedUser("file-is-fifo", "canary", "is not in its /etc/passwd", entry{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "etc/passwd", Mode: 0o644}}),
		refusedUser("file-is-device", "canary", "is not in its /etc/passwd",
			entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "etc/passwd", Mode: 0o644, Devmajor: 1, Devminor: 5}}),
		refusedUser("file-is-huge", "alice", "is not in its /etc/passwd", file("etc/passwd", big+passwd)),
		refusedUser("too-many-groups", "alice", "more than 1024 groups", file("etc/passwd", passwd), file("etc/group", groups.String())),
		refusedImage("user-long", "no name", user(strings.Repeat("a", 300))),
		refusedImage("user-lines", "no name", user("root\nroot")),
		runs("user-number", statusFile, []string{"Uid:\t4321\t4321\t4321\t4321", "Groups:\t0 \n"}, nil, user("4321")),
	}
}

// configCases: CVE-2024-21626 (working directory), CVE-2026-53488 (labels), sizes.
func configCases() []hostileCase {
	set := func(change func(*ggcr.Config)) func(*ggcr.Config) { return change }
	many := func(n int, word string) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("%s%d=x", word, i))
		}
		return out
	}
	dir := func(d string) func(*ggcr.Config) { return func(c *ggcr.Config) { c.WorkingDir = d } }
	refusedDir := func(name, d string) hostileCase {
		return hostileCase{config: dir(d), securityCase: securityCase{name: "workdir-" + name, waits: "ErrImagePull", message: "which is not allowed"}}
	}
	podDir := func(name, d string, entries ...entry) hostileCase {
		return hostileCase{entries: entries, securityCase: securityCase{
			name: "workdir-" + name, waits: "CreateContainerConfigError", message: "which is not allowed",
			change: func(s *v1.PodSpec) { s.Containers[0].WorkingDir = d },
		}}
	}
	long := strings.Repeat("a", 200<<10)
	return []hostileCase{
		runs(stopSignalCase, "echo ran", []string{"ran"}, nil, set(func(c *ggcr.Config) { c.StopSignal = "USR1" })),
		refusedDir("proc", "/proc/self/fd/8"),
		refusedDir("dots", "/a/../proc/./self/cwd"),
		refusedDir("relative", "../../proc/self/fd/9"),
		refusedDir("sys", "/sys/fs/cgroup"),
		refusedDir("dev", "/dev/fd/8"),
		refusedImage("workdir-dev-link", "which is not allowed", dir("/way"), link("way", "/dev/fd/8")),
		podDir("of-the-pod", "/data", link("data", "/proc/self/fd/8")),
		podDir("of-the-pod-below", "data/fd/8", link("data", "../../proc/self")),
		refusedImage("workdir-link", "which is not allowed", dir("/way/self/fd/8"), link("way", "/proc")),
		refusedImage("workdir-links", "which is not allowed", dir("/one/8"), link("one", "two/fd"), link("two", "../proc/self")),
		refusedImage("workdir-long", "is no path", dir("/"+strings.Repeat("a/", 3000))),
		runs("workdir-link-inside", "pwd -P", []string{"/tmp\n"}, nil, dir("/here"), link("here", "tmp")),
		{entries: []entry{link("here", "tmp")}, securityCase: securityCase{
			name: "workdir-of-the-pod-inside", script: "pwd -P", want: []string{"/tmp/new\n"},
			change: func(s *v1.PodSpec) { s.Containers[0].WorkingDir = "/here/new" },
		}},
		runs("workdir-up", "pwd", []string{"/etc\n"}, nil, dir("../../../../etc")),
		refusedImage("env-many", "environment has 5000 words", set(func(c *ggcr.Config) { c.Env = many(5000, "V") })),
		refusedImage("env-long", "environment is too long", set(func(c *ggcr.Config) { c.Env = []string{"A=" + long} })),
		refusedImage("env-nul", "environment has a NUL", set(func(c *ggcr.Config) { c.Env = []string{"A=b\x00c"} })),
		runs("env-odd", "env | sort", []string{"A=2\n", "HOSTNAME=env-odd\n"}, []string{"A=1\n", "\n=x"},
			set(func(c *ggcr.Config) { c.Env = []string{"PATH=/bin", "A=1", "=x", "novalue", "A=2"} })),
		runs("env-path", "echo ran", []string{"ran"}, nil, set(func(c *ggcr.Config) { c.Env = []string{"PATH=/bin:" + strings.Repeat("/x:", 5000)} })),
		refusedImage("entrypoint-many", "entrypoint has 5000 words", set(func(c *ggcr.Config) { c.Entrypoint = many(5000, "w") })),
		refusedImage("entrypoint-long", "is too long", set(func(c *ggcr.Config) { c.Entrypoint = []string{"/bin/sh", long} })),
		refusedImage("entrypoint-nul", "has a NUL", set(func(c *ggcr.Config) { c.Cmd = []string{"a\x00b"} })),
		refusedImage("program-long", "program is no path", set(func(c *ggcr.Config) { c.Entrypoint = []string{strings.Repeat("a", 5000)} })),
		runs("fds", "ls /proc/self/fd | sort -n | tr '\\n' ' '; echo .", []string{"0 1 2 3 .\n"}, nil, nil),
	}
}

// volumeCases: CVE-2022-23648 (a VOLUME that copies the node's files) and its kin.
func volumeCases(canary string) []hostileCase {
	volumes := func(list ...string) func(*ggcr.Config) {
		return func(c *ggcr.Config) {
			c.Volumes = map[string]struct{}{}
			for _, v := range list {
				c.Volumes[v] = struct{}{}
			}
		}
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("/v%d", i))
	}
	readOnly := func(c hostileCase) hostileCase {
		c.change = func(s *v1.PodSpec) { appSecurity(s).ReadOnlyRootFilesystem = new(true) }
		return c
	}
	const secret = "canary-of-the-node"
	return []hostileCase{
		refusedImage("volume-relative", "mount path must be absolute", volumes("data")),
		refusedImage("volume-up", "mount path must be absolute", volumes("../../etc")),
		refusedImage("volume-root", "not the root", volumes("/a/..")),
		refusedImage("volume-proc", "which is not allowed", volumes("/proc/sys")),
		refusedImage("volume-dev", "which is not allowed", volumes("/x/../dev/shm")),
		refusedImage("volume-many", "has 200 volumes", volumes(many...)),
		refusedImage("volume-file", "is no directory", volumes("/bin/busybox")),
		readOnly(runs("volume-of-a-read-only-root", "cat /data/has; touch /data/new && echo writable; touch /other || echo read-only; stat -c %a /data",
			[]string{"from the image", "writable", "read-only", "750"}, nil, volumes("/data"),
			entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "data/", Mode: 0o750}}, file("data/has", "from the image\n"))),
		runs("volume-that-is-not-there", "touch /not/there/yet && echo writable", []string{"writable"}, nil, volumes("/not/there")),
		readOnly(runs("volume-link-out", "cat /data/* 2>&1; touch /data/x && echo writable", []string{"writable"}, []string{secret},
			volumes("/data"), link("data", filepath.Dir(canary)))),
		readOnly(runs("volume-link-up", "cat /data/* 2>&1; touch /data/x && echo writable", []string{"writable"}, []string{secret},
			volumes("/data"), link("data", "../../../../../../.."+filepath.Dir(canary)))),
		readOnly(runs("volume-links-inside", "ls /data; cat /data/out 2>&1 || echo dangling", []string{"dangling"}, []string{secret},
			volumes("/data"), link("data/out", canary))),
	}
}

// treeCases: an image's files that stand in the way of mounts (CVE-2019-19921 and kin), and layers that write outside
// (CVE-2021-32760).
func treeCases(canary string) []hostileCase {
	away := func(name string) entry { return entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: ".wh." + name}} }
	hosts := runs("hosts-is-a-link", "cat /etc/hosts", []string{"Kubernetes-managed hosts file"}, []string{"canary-of-the-node"}, nil, link("etc/hosts", canary))
	message := runs("termination-log-is-a-link", "echo bye > /dev/termination-log; echo ran", []string{"ran"}, nil, nil, link("dev/termination-log", canary))
	proc := hostileCase{securityCase: securityCase{name: "proc-is-a-link", fails: "any"}, entries: []entry{away("proc"), link("proc", filepath.Dir(canary))}}
	return []hostileCase{
		hosts, message, proc,
		runs("layer-up", "echo ran", []string{"ran"}, nil, nil, file("../../../../../../../.."+canary, "overwritten\n")),
		runs("layer-through-a-link", "echo ran", []string{"ran"}, nil, nil, link("exit", filepath.Dir(canary)), file("exit/"+filepath.Base(canary), "overwritten\n")),
	}
}

// labelled is an image whose labels are those of the agent and of containerd (CVE-2026-53488).
func labelled() hostileCase {
	return hostileCase{
		securityCase: securityCase{name: "labels", script: node.Sleep, change: func(s *v1.PodSpec) { s.RestartPolicy = v1.RestartPolicyAlways }},
		config: func(c *ggcr.Config) {
			c.StopSignal = "9999"
			c.Labels = map[string]string{
				"io.kubernetes.pod.uid": "forged", "io.kubernetes.pod.name": "forged", "io.containerd.runc.v2.group": "forged",
				"containerd.io/gc.root": "forged", "io.cri-containerd.kind": "sandbox", "edgepod.dev/any": "forged",
			}
		},
	}
}

// TestHostileImages runs images made to break out, one pod each, on one node. None may reach the node's files, run as
// another user than it says, or bring its labels along; the agent lives on.
func TestHostileImages(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		dir := filepath.Join(n.Dir, "outside")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		canary := filepath.Join(dir, "passwd")
		const text = "canary:x:0:0:canary-of-the-node:/:/bin/sh\n"
		if err := os.WriteFile(canary, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var hostile []hostileCase
		for _, list := range [][]hostileCase{userCasesOfImages(canary), configCases(), volumeCases(canary), treeCases(canary), {labelled()}} {
			hostile = append(hostile, list...)
		}
		var cases []securityCase
		base, images := busyboxImage(t), map[name.Tag]ggcr.Image{}
		for _, h := range hostile {
			c := h.securityCase
			ref := "edgepod.dev/hostile-" + c.name + ":1"
			tag, err := name.NewTag(ref)
			if err != nil {
				t.Fatal(err)
			}
			images[tag] = hostileImage(t, base, h)
			change := c.change
			c.change = func(s *v1.PodSpec) {
				s.Containers[0].Image = ref
				s.Containers[0].ImagePullPolicy = v1.PullNever
				if change != nil {
					change(s)
				}
			}
			cases = append(cases, c)
		}
		archive := filepath.Join(t.TempDir(), "hostile.tar")
		if err := tarball.MultiWriteToFile(archive, images); err != nil {
			t.Fatal(err)
		}
		n.DropImage(archive)
		n.Start()
		last := len(cases) - 1
		runSecurityCases(t, n, cases[:last])
		checkVolumeLinks(t, n, canary)
		checkStopSignal(t, n)
		checkLabels(t, n, cases[last])
		if got, err := os.ReadFile(canary); err != nil || string(got) != text {
			t.Errorf("an image changed a file of the node: %q, %v", got, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("an image made files on the node: %v, %v", left, err)
		}
	})
}

func busyboxImage(t *testing.T) ggcr.Image {
	t.Helper()
	spec, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func hostileImage(t *testing.T, base ggcr.Image, h hostileCase) ggcr.Image {
	t.Helper()
	img := base
	if len(h.entries) > 0 {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, e := range h.entries {
			if err := w.WriteHeader(&e.Header); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, e.data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	if h.config != nil {
		h.config(&cf.Config)
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

const stopSignalCase = "stopsignal"

// checkStopSignal ends a pod of an image whose STOPSIGNAL is a good one.
func checkStopSignal(t *testing.T, n *node.Node) {
	t.Helper()
	const name = "stopped-as-the-image-says"
	p, _ := report(t, n, name, "true")
	p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "edgepod.dev/hostile-"+stopSignalCase+":1", v1.PullNever
	p.Spec.Containers[0].Command = []string{"sh", "-c", "trap 'echo usr1 >/out/told; exit 0' USR1; trap 'echo term >/out/told; exit 0' TERM; touch /out/up; while :; do sleep 3600 & wait; done"}
	n.Apply(p)
	out := filepath.Join(n.Dir, "out-"+name)
	n.Eventually("the traps to be set", func() string {
		if !fileExists(filepath.Join(out, "up")) {
			return node.Describe(n.Pod(name))
		}
		return ""
	})
	n.Delete(name)
	n.WaitGone(name)
	if b, err := os.ReadFile(filepath.Join(out, "told")); string(b) != "usr1\n" {
		t.Errorf("the container was told %q, %v", b, err)
	}
}

// checkVolumeLinks has containers begin in links that another one put into their volume, to each file that the OCI runtime
// may have open (CVE-2024-21626). Where such links lead no one can see before: the OCI runtime has to refuse to start there.
func checkVolumeLinks(t *testing.T, n *node.Node, canary string) {
	t.Helper()
	p := node.Pod("workdir-in-a-volume", "")
	p.Spec.RestartPolicy = v1.RestartPolicyNever
	p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
	c := p.Spec.Containers[0]
	c.VolumeMounts = []v1.VolumeMount{{Name: "v", MountPath: "/v"}}
	links := *c.DeepCopy()
	links.Name, links.Command = "links", []string{"sh", "-c", "cd /v; for i in 3 4 5 6 7 8 9 10 11 12; do ln -s /proc/self/fd/$i $i; done"}
	p.Spec.InitContainers, p.Spec.Containers = []v1.Container{links}, nil
	for fd := 3; fd <= 12; fd++ {
		c := *c.DeepCopy()
		c.Name, c.WorkingDir = fmt.Sprintf("fd%d", fd), fmt.Sprintf("/v/%d", fd)
		c.Command = []string{"sh", "-c", "cat ../../../../../../../../../../../.." + canary}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	n.Apply(p)
	p = n.Wait(p.Name, "failed", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodFailed })
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Terminated == nil || s.State.Terminated.Reason != "StartError" {
			t.Errorf("%s ended as %+v: %s", s.Name, s.State, n.MustAgent("logs", p.Name, "-c", s.Name))
		}
	}
}

// checkLabels looks at the container's record in containerd, and ends a pod whose STOPSIGNAL is none.
func checkLabels(t *testing.T, n *node.Node, c securityCase) {
	t.Helper()
	p := node.Pod(c.name, c.script)
	c.change(&p.Spec)
	n.Apply(p)
	n.WaitRunning(c.name)
	id := strings.TrimPrefix(n.Pod(c.name).Status.ContainerStatuses[0].ContainerID, "containerd://")
	out, err := exec.Command("ctr", "--address", n.ContainerdSocket(), "-n", "agent", "containers", "info", id).Output()
	if err != nil {
		t.Fatalf("asking containerd for the container: %v", err)
	}
	var info struct {
		Labels map[string]string
		Spec   struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal(out, &info); err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(info.Labels, info.Spec.Annotations); strings.Contains(s, "forged") || info.Labels["io.cri-containerd.kind"] != "container" {
		t.Errorf("labels of the image reached the container: %s", s)
	}
	begin := time.Now()
	n.Delete(c.name)
	n.WaitGone(c.name)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("a pod whose image has a STOPSIGNAL that is none took %v to end", took)
	}
}
