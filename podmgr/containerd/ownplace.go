package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	cg "github.com/containerd/cgroups/v3"
)

// moveSelf moves this process into a cgroup of that path, in every hierarchy, and makes it where it is missing; what the
// agent starts later (containerd's shims move on to their pods) begins there. An empty path leaves the process alone.
func moveSelf(path string) error {
	if path == "" {
		return nil
	}
	const root = "/sys/fs/cgroup"
	dirs := []string{filepath.Join(root, filepath.Clean("/"+path))}
	if cg.Mode() != cg.Unified {
		dirs = nil
		hierarchies, err := os.ReadDir(root)
		if err != nil {
			return fmt.Errorf("listing cgroup hierarchies: %w", err)
		}
		for _, h := range hierarchies {
			// cpuset refuses processes before it has CPUs, and its links (cpu, cpuacct) are the hierarchies themselves.
			if h.IsDir() && h.Name() != "cpuset" {
				dirs = append(dirs, filepath.Join(root, h.Name(), filepath.Clean("/"+path)))
			}
		}
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the cgroup of --agent-cgroups: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return fmt.Errorf("moving into the cgroup of --agent-cgroups: %w", err)
		}
	}
	return nil
}
