package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"edgepod.dev/agent/contrib/e2e/node"
)

var enginesFlag = flag.String("engines", "embedded,external", "the engines to test, comma-separated")

// built is where TestMain puts binaries and image archives and notes tools, for all tests to read.
var built struct{ bin, busybox, demo, vim string }

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("these tests need root: they run containers")
	}
	for tool, pkg := range map[string]string{
		"runc": "runc", "iptables": "iptables", "busybox": "busybox-static", "containerd": "containerd",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("%s is missing: apt install %s (contrib/test does)", tool, pkg)
		}
	}
	for _, name := range []string{"vim", "vim.tiny"} {
		if path, err := exec.LookPath(name); err == nil {
			built.vim = path
			break
		}
	}
	if built.vim == "" {
		return 1, fmt.Errorf("vim is missing: apt install vim-tiny (contrib/test does)")
	}
	if _, err := os.Stat("/usr/lib/cni/bridge"); err != nil {
		return 1, fmt.Errorf("the CNI plugins are missing: apt install containernetworking-plugins")
	}
	dir, err := os.MkdirTemp("", "agent-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func build(dir string) error {
	built.bin = dir
	for name, pkg := range map[string]string{
		"agent":                   "edgepod.dev/agent",
		"containerd-shim-runc-v2": "edgepod.dev/agent/contrib/containerd-shim-runc-v2",
		"demo":                    "edgepod.dev/agent/contrib/demo",
		"mkimage":                 "edgepod.dev/agent/contrib/cmd/mkimage",
	} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	var err error
	if built.busybox, err = node.BusyboxArchive(dir); err != nil {
		return fmt.Errorf("building the busybox image: %w", err)
	}
	built.demo = filepath.Join(dir, "demo.tar")
	out, err := exec.Command(filepath.Join(dir, "mkimage"), "-name", "edgepod.dev/demo:1", "-entrypoint", "/demo", "-format", "oci",
		"-o", built.demo, filepath.Join(dir, "demo")+":/demo").CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the demo image: %w\n%s", err, out)
	}
	return nil
}

// onEngines runs a test on a fresh node of every engine, the agent not yet started. Tests run side by side unless they
// change something that belongs to the whole machine.
func onEngines(t *testing.T, test func(t *testing.T, n *node.Node), args ...string) {
	t.Parallel()
	eachEngine(t, true, test, args...)
}

// aloneOnEngines is onEngines for tests that may not run beside others.
func aloneOnEngines(t *testing.T, test func(t *testing.T, n *node.Node), args ...string) {
	eachEngine(t, false, test, args...)
}

func eachEngine(t *testing.T, parallel bool, test func(t *testing.T, n *node.Node), args ...string) {
	for name := range strings.SplitSeq(*enginesFlag, ",") {
		engine := node.Engine(name)
		if engine != node.Embedded && engine != node.External {
			t.Fatalf("-engines: %q is neither embedded nor external", name)
		}
		t.Run(name, func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			test(t, node.New(t, node.Options{Engine: engine, Bin: built.bin, Args: args, Archives: []string{built.busybox}}))
		})
	}
}

// embeddedOnly runs a test on the embedded engine alone: what it tests does not reach the engine.
func embeddedOnly(t *testing.T, args ...string) *node.Node {
	t.Helper()
	t.Parallel()
	return node.New(t, node.Options{Engine: node.Embedded, Bin: built.bin, Args: args, Archives: []string{built.busybox}})
}

// same fails when the processes of the node's pods are not those of before.
func same(t *testing.T, what string, before, after []node.Process) {
	t.Helper()
	a, b := node.Identity(before), node.Identity(after)
	if strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("%s changed the processes of the pods\nbefore: %q\nafter:  %q", what, a, b)
	}
}
