package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"edgepod.dev/agent/contrib/e2e/node"
)

// built is where TestMain puts the agent, the control plane and the busybox image, for all tests to read.
var built struct{ agent, cluster, busybox string }

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/cluster:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("these tests need root: they run containers")
	}
	dir, err := os.MkdirTemp("", "agent-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	built.agent = dir
	for name, pkg := range map[string]string{
		"agent": "edgepod.dev/agent", "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
	} {
		if _, err := goCommand(".", "build", "-o", filepath.Join(dir, name), pkg); err != nil {
			return 1, fmt.Errorf("building %s: %w", name, err)
		}
	}
	if built.cluster, err = Build(dir); err != nil {
		return 1, fmt.Errorf("building the control plane: %w", err)
	}
	if built.busybox, err = node.BusyboxArchive(dir); err != nil {
		return 1, fmt.Errorf("building the busybox image: %w", err)
	}
	return m.Run(), nil
}
