package containerd

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

// class is the cgroup that the pods of a quality of service have in common.
func (g cgroups) class(q v1.PodQOSClass) string {
	if g.systemd {
		return "kubepods-" + qosDir(q) + ".slice"
	}
	return path.Join(g.root, "kubepods", qosDir(q))
}

// weighClass gives a class what the kubelet gives it (qos_container_manager_linux.go): best effort the least there is,
// burstable what its pods request together. A class left at the kernel's default would take CPU from the guaranteed pods
// beside it. What the pods request is read from their cgroups: it is there after a restart, too.
func (g cgroups) weighClass(q v1.PodQOSClass) error {
	if q == v1.PodQOSGuaranteed {
		return nil
	}
	g.weigh.Lock()
	defer g.weigh.Unlock()
	name := g.class(q)
	shares := uint64(minShares)
	file := g.file(name, "", "cpu", "cpu.shares")
	if g.unified {
		file = g.file(name, "", "cpu", "cpu.weight")
	}
	if q == v1.PodQOSBurstable {
		shares = max(shares, g.sharesIn(filepath.Dir(file)))
	}
	wants := shares
	if g.unified {
		wants = cgroup2.ConvertCPUSharesToCgroupV2Value(shares)
	}
	is, err := readLimit(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && is == int64(wants) {
		return nil // without the file, no pod of the class was ever here, or nothing counts CPU
	}
	if err != nil {
		return err
	}
	return g.set(name, &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
}

// sharesIn sums the CPU shares of the pods' cgroups in a directory. One that is going counts no more.
func (g cgroups) sharesIn(dir string) uint64 {
	pods, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var sum uint64
	for _, p := range pods {
		if !p.IsDir() {
			continue
		}
		if !g.unified {
			if n, err := readLimit(filepath.Join(dir, p.Name(), "cpu.shares")); err == nil && n > 0 {
				sum += uint64(n)
			}
			continue
		}
		if n, err := readLimit(filepath.Join(dir, p.Name(), "cpu.weight")); err == nil && n > 0 {
			sum += sharesOf(uint64(n))
		}
	}
	return min(sum, maxShares)
}

// sharesOf are the fewest CPU shares that become a weight.
func sharesOf(weight uint64) uint64 {
	low, high := uint64(minShares), uint64(maxShares)
	for low < high {
		if mid := (low + high) / 2; cgroup2.ConvertCPUSharesToCgroupV2Value(mid) < weight {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}
