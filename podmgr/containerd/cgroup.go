package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	cg "github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// cgroups lays pods out as the kubelet does:
//
//	cgroupfs   <root>/kubepods/{,burstable/,besteffort/}pod<uid>/<container id>
//	systemd    kubepods-burstable-pod<uid_>.slice with cri-containerd-<id>.scope in it
type cgroups struct {
	unified bool
	systemd bool
	root    string
	mount   string // where file looks instead of /sys/fs/cgroup, in tests
	pids    int64
	huge    []string    // sizes of huge pages that it counts
	weigh   *sync.Mutex // whoever weighs a class sees every pod that was weighed before it
}

func newCgroups(c Config, _ hostLimits) (cgroups, error) {
	g := cgroups{unified: cg.Mode() == cg.Unified, root: path.Join("/", c.CgroupRoot), pids: c.PodPidsLimit, weigh: new(sync.Mutex)}
	g.huge = hugePageSizes(g.unified)
	switch c.CgroupDriver {
	case "", "auto":
		_, err := os.Stat("/run/systemd/system")
		g.systemd = err == nil && g.unified && c.CgroupRoot == ""
	case "systemd":
		if _, err := os.Stat("/run/systemd/system"); err != nil {
			return g, errors.New("--cgroup-driver systemd: systemd is not running here (use auto or cgroupfs)")
		}
		g.systemd = true
	case "cgroupfs":
	default:
		return g, fmt.Errorf("--cgroup-driver %q: want auto, cgroupfs or systemd", c.CgroupDriver)
	}
	return g, nil
}

// qosDir is "" for Guaranteed, else "burstable" or "besteffort".
func qosDir(q v1.PodQOSClass) string {
	if q == v1.PodQOSGuaranteed {
		return ""
	}
	return strings.ToLower(string(q))
}

// pod is the cgroup of a pod: a path below every hierarchy, or a slice name with the systemd driver.
func (g cgroups) pod(q v1.PodQOSClass, uid types.UID) string {
	if g.systemd {
		parts := []string{"kubepods"}
		if d := qosDir(q); d != "" {
			parts = append(parts, d)
		}
		parts = append(parts, "pod"+strings.ReplaceAll(string(uid), "-", "_"))
		return strings.Join(parts, "-") + ".slice"
	}
	return path.Join(g.root, "kubepods", qosDir(q), "pod"+string(uid))
}

// container is the cgroupsPath of an OCI spec.
func (g cgroups) container(pod, id string) string {
	if g.systemd {
		return pod + ":cri-containerd:" + id
	}
	return path.Join(pod, id)
}

// ensure makes the pod's cgroup with the limits that hold for the pod as a whole.
func (g cgroups) ensure(p *v1.Pod, q v1.PodQOSClass) error {
	res := podResources(p, q, g.huge)
	if g.pids > 0 {
		res.Pids = &specs.LinuxPids{Limit: &g.pids}
	}
	name := g.pod(q, p.UID)
	var err error
	switch {
	case g.systemd && g.unified:
		_, err = cgroup2.NewSystemd(parentSlice(name), name, -1, cgroup2.ToResources(res))
	case g.systemd:
		_, err = cgroup1.New(cgroup1.Slice(parentSlice(name), name), res, cgroup1.WithHierarchy(cgroup1.Systemd))
	case g.unified:
		_, err = cgroup2.NewManager("/sys/fs/cgroup", name, cgroup2.ToResources(res))
	default:
		_, err = cgroup1.New(cgroup1.StaticPath(name), res)
	}
	if err != nil {
		return fmt.Errorf("creating the pod's cgroup %s: %w", name, err)
	}
	return g.weighClass(q)
}

func parentSlice(name string) string {
	s := strings.TrimSuffix(name, ".slice")
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		return s[:i] + ".slice"
	}
	return ""
}

// remove removes the cgroup of a UID whatever its class. Processes that are left in it are killed: they belong to a pod
// that no longer exists.
func (g cgroups) remove(uid types.UID) error {
	for _, q := range []v1.PodQOSClass{v1.PodQOSGuaranteed, v1.PodQOSBurstable, v1.PodQOSBestEffort} {
		name := g.pod(q, uid)
		dirs := g.dirs(name)
		for _, dir := range dirs {
			if err := removeCgroup(dir); err != nil {
				return err
			}
		}
		if g.systemd {
			if err := stopSlice(name); err != nil {
				return err
			}
		}
		if len(dirs) > 0 {
			if err := g.weighClass(q); err != nil {
				return err
			}
		}
	}
	return nil
}

// dirs are the directories of a cgroup that exist, one for each hierarchy.
func (g cgroups) dirs(name string) []string {
	rel := name
	if g.systemd {
		rel = expandSlice(name)
	}
	if g.unified {
		return existing(filepath.Join("/sys/fs/cgroup", rel))
	}
	hierarchies, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		return nil
	}
	var out []string
	for _, h := range hierarchies {
		if h.IsDir() {
			out = append(out, existing(filepath.Join("/sys/fs/cgroup", h.Name(), rel))...)
		}
	}
	return out
}

func existing(dir string) []string {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil
	}
	return []string{dir}
}

// expandSlice is systemd's layout: a-b-c.slice lies in a.slice/a-b.slice.
func expandSlice(name string) string {
	base := strings.TrimSuffix(name, ".slice")
	var out, prefix string
	for part := range strings.SplitSeq(base, "-") {
		prefix = strings.TrimPrefix(prefix+"-"+part, "-")
		out = filepath.Join(out, prefix+".slice")
	}
	return out
}

// removeCgroup kills what is left in a cgroup tree and removes it. A dying process holds its cgroup for a moment.
func removeCgroup(dir string) error {
	var err error
	for try := range 40 {
		var left []string
		walk := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			if d.IsDir() {
				left = append(left, p)
			}
			return nil
		})
		if walk != nil {
			return fmt.Errorf("removing cgroup %s: %w", dir, walk)
		}
		err = nil
		for i := len(left) - 1; i >= 0; i-- {
			if e := unix.Rmdir(left[i]); e != nil && !errors.Is(e, unix.ENOENT) {
				err = e
				if try > 2 {
					killCgroup(left[i])
				}
			}
		}
		if err == nil {
			return nil
		}
		time.Sleep(time.Duration(try+1) * time.Millisecond)
	}
	return fmt.Errorf("removing cgroup %s: %w", dir, err)
}

func killCgroup(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
