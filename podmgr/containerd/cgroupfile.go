package containerd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// unlimited is a limit that is none.
const unlimited = int64(-1)

// file is a file of a pod's cgroup, or of a container's in it when id is not empty.
func (g cgroups) file(pod, id, controller, name string) string {
	rel := pod
	if g.systemd {
		rel = expandSlice(pod)
	}
	switch {
	case id == "":
	case g.systemd:
		rel = filepath.Join(rel, "cri-containerd-"+id+".scope")
	default:
		rel = filepath.Join(rel, id)
	}
	mount := cmp.Or(g.mount, "/sys/fs/cgroup")
	if g.unified {
		return filepath.Join(mount, rel, name)
	}
	return filepath.Join(mount, controller, rel, name)
}

// quota reads a pod's CPU quota in µs per period.
func (g cgroups) quota(pod string) (int64, error) {
	if !g.unified {
		return readLimit(g.file(pod, "", "cpu", "cpu.cfs_quota_us"))
	}
	return readLimit(g.file(pod, "", "cpu", "cpu.max"))
}

// memory reads a pod's memory limit in bytes.
func (g cgroups) memory(pod string) (int64, error) {
	if !g.unified {
		return readLimit(g.file(pod, "", "memory", "memory.limit_in_bytes"))
	}
	return readLimit(g.file(pod, "", "memory", "memory.max"))
}

// readLimit reads the first number of a file; "max" is none, as is the most that a kernel can count.
func readLimit(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("reading a cgroup: %w", err)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	const most = 1 << 60
	n, err := strconv.ParseInt(word, 10, 64)
	if word == "max" || n < 0 || n >= most {
		return unlimited, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", file, err)
	}
	return n, nil
}

// grow raises those limits of a pod's cgroup that are to be higher than they are.
func (g cgroups) grow(pod string, wants *specs.LinuxResources) error {
	var more specs.LinuxResources
	if wants.CPU.Quota != nil {
		is, err := g.quota(pod)
		if err != nil {
			return err
		}
		if is != unlimited && is < *wants.CPU.Quota {
			more.CPU = &specs.LinuxCPU{Quota: wants.CPU.Quota, Period: wants.CPU.Period}
		}
	}
	if wants.Memory.Limit != nil {
		is, err := g.memory(pod)
		if err != nil {
			return err
		}
		if is != unlimited && is < *wants.Memory.Limit {
			more.Memory = &specs.LinuxMemory{Limit: wants.Memory.Limit}
		}
	}
	return g.set(pod, &more)
}

// set writes values of a pod's cgroup; those that are missing stay.
func (g cgroups) set(pod string, res *specs.LinuxResources) error {
	if cpu := res.CPU; cpu != nil {
		if err := g.setCPU(pod, cpu); err != nil {
			return err
		}
	}
	if res.Memory != nil && res.Memory.Limit != nil {
		name := "memory.limit_in_bytes"
		if g.unified {
			name = "memory.max"
		}
		if err := writeLimit(g.file(pod, "", "memory", name), strconv.FormatInt(*res.Memory.Limit, 10)); err != nil {
			return err
		}
	}
	if g.systemd && g.unified {
		return tellSlice(pod, res)
	}
	return nil
}

func (g cgroups) setCPU(pod string, cpu *specs.LinuxCPU) error {
	values := map[string]string{}
	switch {
	case g.unified:
		if cpu.Shares != nil {
			values["cpu.weight"] = strconv.FormatUint(cgroup2.ConvertCPUSharesToCgroupV2Value(*cpu.Shares), 10)
		}
		if cpu.Quota != nil {
			values["cpu.max"] = fmt.Sprintf("%d %d", *cpu.Quota, *cpu.Period)
		}
	default:
		if cpu.Shares != nil {
			values["cpu.shares"] = strconv.FormatUint(*cpu.Shares, 10)
		}
		if cpu.Quota != nil {
			values["cpu.cfs_quota_us"] = strconv.FormatInt(*cpu.Quota, 10)
		}
	}
	for name, value := range values {
		if err := writeLimit(g.file(pod, "", "cpu", name), value); err != nil {
			return err
		}
	}
	return nil
}

func writeLimit(file, value string) error {
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("writing %s to a cgroup: %w", value, err)
	}
	return nil
}

// mayShrink refuses a memory limit below what is in use and cannot be reclaimed: the kernel would kill for it.
func (g cgroups) mayShrink(pod, id string, wants *specs.LinuxResources) error {
	if wants.Memory == nil || wants.Memory.Limit == nil {
		return nil
	}
	usage, inactive := "memory.usage_in_bytes", "total_inactive_file"
	if g.unified {
		usage, inactive = "memory.current", "inactive_file"
	}
	used, err := readLimit(g.file(pod, id, "memory", usage))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has ended
	}
	if err != nil {
		return err
	}
	b, err := os.ReadFile(g.file(pod, id, "memory", "memory.stat"))
	if err != nil {
		return fmt.Errorf("reading a cgroup: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == inactive {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			used -= n
		}
	}
	if used >= *wants.Memory.Limit {
		return fmt.Errorf("the memory limit of %d bytes is below the %d bytes in use", *wants.Memory.Limit, used)
	}
	return nil
}
