package rows

import (
	"os"
	"path/filepath"
	"strings"
)

// Cgroup reads a file of the cgroup of the container "app", by its name in cgroup v1 or v2.
func (x *X) Cgroup(controller, v1name, v2name string) string {
	return x.cgroup(false, controller, v1name, v2name)
}

// PodCgroup reads a file of the pod's cgroup.
func (x *X) PodCgroup(controller, v1name, v2name string) string {
	return x.cgroup(true, controller, v1name, v2name)
}

func (x *X) cgroup(pod bool, controller, v1name, v2name string) string {
	all := x.Proc("cgroup")
	for line := range strings.Lines(all) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		path := f[2]
		if pod {
			path = filepath.Dir(path)
		}
		file := filepath.Join("/sys/fs/cgroup", controller, path, v1name)
		if f[1] == "" {
			file = filepath.Join("/sys/fs/cgroup", path, v2name)
		} else if !strings.Contains(","+f[1]+",", ","+controller+",") {
			continue
		}
		if b, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	x.Fatalf("no cgroup of the pod holds %s or %s:\n%s", v1name, v2name, all)
	return ""
}

// OneOf fails unless got is one of the values, such as those of cgroup v1 and v2.
func (x *X) OneOf(what, got string, want ...string) {
	for _, w := range want {
		if got == w {
			return
		}
	}
	x.Errorf("%s is %q, want one of %q", what, got, want)
}
