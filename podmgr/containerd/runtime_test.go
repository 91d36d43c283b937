package containerd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	build "edgepod.dev/agent/contrib/image"
	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/runtimetest"
	"github.com/moby/sys/mountinfo"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// These tests need root, runc, the CNI plugins, busybox-static and, for the external engine, Debian's containerd
// (contrib/test installs them). They fail where something is missing.

const testImage = "edgepod.dev/runtimetest:1"

// busyboxCommand makes busybox do what a program says.
func busyboxCommand(p runtimetest.Program) []string {
	switch p.Kind {
	case runtimetest.Exit:
		return []string{"sh", "-c", fmt.Sprintf("echo bye; exit %d", p.Code)}
	case runtimetest.Hog:
		return []string{"sh", "-c", "sleep 1; exec tail /dev/zero"}
	case runtimetest.HogChild:
		return []string{"sh", "-c", fmt.Sprintf("sleep 1; tail /dev/zero; exit %d", p.Code)}
	case runtimetest.Stubborn:
		return []string{"sh", "-c", "trap '' TERM; while :; do sleep 1000; done"}
	default:
		return []string{"sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"}
	}
}

// testNode is the directories of one engine under test.
type testNode struct {
	dir  string
	conf Config
}

func newTestNode(t *testing.T) *testNode {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test runs containers: run it as root")
	}
	dir, err := os.MkdirTemp("/run", "agt") // short: sockets live below it
	if err != nil {
		t.Fatal(err)
	}
	shim := filepath.Join(dir, "containerd-shim-runc-v2")
	compile := exec.Command("go", "build", "-o", shim, "edgepod.dev/agent/contrib/containerd-shim-runc-v2")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("building the shim: %v\n%s", err, out)
	}
	name := filepath.Base(dir)
	n := &testNode{dir: dir, conf: Config{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), PodLogs: filepath.Join(dir, "logs"),
		Containerd: Embedded, Shim: shim, CgroupDriver: "cgroupfs", CgroupRoot: "/" + name,
		CNIBinDirs: []string{"/usr/lib/cni", "/opt/cni/bin"}, Bridge: "b" + name[len(name)-6:], PodCIDR: "10.203.0.0/16",
		NodeName: "test-node", PodPidsLimit: 1024, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	}}
	t.Cleanup(func() { n.remove(t) })
	return n
}

// remove takes the node's traces off the machine and fails when a test left more than it may.
func (n *testNode) remove(t *testing.T) {
	for _, rule := range [][]string{
		{"-t", "nat", "-D", "POSTROUTING", "-s", n.conf.PodCIDR, "!", "-d", n.conf.PodCIDR, "-m", "comment", "--comment", n.conf.Bridge, "-j", "MASQUERADE"},
		{"-D", "FORWARD", "-s", n.conf.PodCIDR, "-m", "comment", "--comment", n.conf.Bridge, "-j", "ACCEPT"},
		{"-D", "FORWARD", "-d", n.conf.PodCIDR, "-m", "comment", "--comment", n.conf.Bridge, "-j", "ACCEPT"},
	} {
		_ = exec.Command("iptables", append([]string{"-w", "10"}, rule...)...).Run()
	}
	_ = exec.Command("ip", "link", "delete", n.conf.Bridge).Run()
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(n.dir))
	if err != nil {
		t.Error(err)
	}
	for _, m := range mounts {
		t.Errorf("mount left: %s", m.Mountpoint)
		_ = unix.Unmount(m.Mountpoint, unix.MNT_DETACH)
	}
	if out, err := exec.Command("pgrep", "-af", "--", n.dir).Output(); err == nil {
		t.Errorf("processes left:\n%s", out)
		_ = exec.Command("pkill", "-KILL", "-f", "--", n.dir).Run()
	}
	for _, dir := range newTestCgroups(n.conf.CgroupRoot) {
		pods, _ := filepath.Glob(filepath.Join(dir, "kubepods", "*", "pod*"))
		for _, p := range pods {
			t.Errorf("cgroup left: %s", p)
		}
		if err := removeCgroup(dir); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(n.dir); err != nil {
		t.Error(err)
	}
}

func newTestCgroups(root string) []string {
	return cgroups{unified: isUnified()}.dirs(root)
}

func isUnified() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// open starts the engine and makes sure that the test image is there.
func (n *testNode) open(t *testing.T) *Runtime {
	t.Helper()
	r, err := New(t.Context(), n.conf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.images.local(r.ns(t.Context()), testImage); err != nil {
		spec, err := build.Busybox()
		if err != nil {
			t.Fatal(err)
		}
		img, err := build.Build(spec)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(n.dir, "image.tar")
		if err := build.Save(file, testImage, img, build.Docker); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Images().ImportFile(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// startContainerd runs Debian's containerd for the node, as an engine that runs already.
func (n *testNode) startContainerd(t *testing.T) {
	t.Helper()
	n.conf.Containerd, n.conf.Shim = filepath.Join(n.dir, "c.sock"), ""
	conf := filepath.Join(n.dir, "containerd.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(n.dir, "croot"), filepath.Join(n.dir, "cstate"), n.conf.Containerd)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("/usr/bin/containerd", "--config", conf)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting Debian's containerd: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("containerd said:\n%s", out.String())
		}
	})
	for range 100 {
		if _, err := os.Stat(n.conf.Containerd); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("containerd does not come up:\n%s", out.String())
}

// limitsOf reads a cgroup's limits from the kernel.
func limitsOf(t *testing.T, r *Runtime, p *manifests.Pod, name string) podmgr.Resources {
	t.Helper()
	pod, id := r.cgroups.pod(podmgr.QOSClass(p.Object), p.UID()), ""
	if name != "" {
		id = containerID(p.UID(), name, 0)
	}
	read := func(controller, v1, v2 string) int64 {
		file := v1
		if r.cgroups.unified {
			file = v2
		}
		n, err := readLimit(r.cgroups.file(pod, id, controller, file))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return podmgr.Resources{
		CPULimit:    read("cpu", "cpu.cfs_quota_us", "cpu.max") * milliPerCPU / cfsPeriod,
		MemoryLimit: read("memory", "memory.limit_in_bytes", "memory.max"),
	}
}

// suite runs the laws of a runtime over one engine that all tests share.
func (n *testNode) suite(t *testing.T) {
	var current *Runtime
	t.Cleanup(func() {
		if current != nil {
			current.Close()
		}
	})
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject {
		if current == nil {
			current = n.open(t)
		}
		return runtimetest.Subject{
			Runtime: current, Image: testImage, Missing: "127.0.0.1:1/nothing:1", Command: busyboxCommand,
			Processes: func(t *testing.T, id string) string {
				st, err := current.task(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", st.pid))
				if err != nil {
					t.Fatal(err)
				}
				return ns
			},
			Limits: func(t *testing.T, p *manifests.Pod, name string) podmgr.Resources {
				return limitsOf(t, current, p, name)
			},
			Reopen: func(t *testing.T, away time.Duration) podmgr.Runtime {
				current.Close()
				time.Sleep(away)
				current = n.open(t)
				return current
			},
		}
	})
}

func TestTheEmbeddedEngineKeepsTheLaws(t *testing.T) {
	newTestNode(t).suite(t)
}

func TestAnExternalContainerdKeepsTheLaws(t *testing.T) {
	n := newTestNode(t)
	n.startContainerd(t)
	n.suite(t)
}
