package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// parts are the names that the program in bins answers to.
var parts = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "metrics-server", "kubectl"} //nolint:gochecknoglobals // a table

// Build compiles the control plane, which takes minutes once and seconds when Go's build cache has it, and returns the
// directory with its programs.
func Build(dir string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module: %w", err)
	}
	root := strings.TrimSpace(string(out))
	source := filepath.Join(root, "contrib/e2e/cluster/bins")
	program := filepath.Join(root, "bin/hyperkube") // kept: go build leaves it alone when nothing changed
	version, err := goCommand(source, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	number := strings.Split(strings.TrimPrefix(version, "v"), ".")
	set := "-X k8s.io/component-base/version."
	flags := fmt.Sprintf("-s -w %sgitVersion=%s %sgitMajor=%s %sgitMinor=%s", set, version, set, number[0], set, number[1])
	if _, err := goCommand(source, "build", "-ldflags", flags, "-o", program, "."); err != nil {
		return "", err
	}
	for _, name := range parts {
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("naming the control plane's parts: %w", err)
		}
	}
	return dir, nil
}

func goCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
