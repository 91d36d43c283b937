//go:build !nokube

package kube

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// machine is what the Node object says of the hardware and the operating system. Standalone mode has no use for it, and
// cAdvisor, which knows it too, may be off.
type machine struct {
	cpus                  int64
	memory, swap          int64 // bytes
	hugepages             map[string]int64
	storage               int64 // bytes of the filesystem of --root
	machineID, systemUUID string
	bootID                string
	kernel, osImage       string
}

// readMachine reads it; root and sys are "/proc" and "/sys" but for tests.
func readMachine(proc, sys, storage string) (machine, error) {
	m := machine{cpus: cpusOf(filepath.Join(proc, "cpuinfo")), hugepages: hugepagesOf(sys)}
	mem, err := meminfo(filepath.Join(proc, "meminfo"))
	if err != nil {
		return machine{}, err
	}
	m.memory, m.swap = mem["MemTotal"], mem["SwapTotal"]
	var fs syscall.Statfs_t
	if err := syscall.Statfs(storage, &fs); err != nil {
		return machine{}, fmt.Errorf("measuring the filesystem of %s: %w", storage, err)
	}
	m.storage = int64(fs.Blocks) * fs.Bsize
	m.bootID = firstLine(filepath.Join(proc, "sys/kernel/random/boot_id"))
	m.kernel = firstLine(filepath.Join(proc, "sys/kernel/osrelease"))
	m.machineID = firstLine("/etc/machine-id", "/var/lib/dbus/machine-id")
	m.systemUUID = firstLine(filepath.Join(sys, "class/dmi/id/product_uuid"), filepath.Join(proc, "device-tree/system-id"),
		filepath.Join(proc, "device-tree/vm,uuid"), "/etc/machine-id")
	m.osImage = osImage("/etc/os-release", "/usr/lib/os-release")
	return m, nil
}

func firstLine(files ...string) string {
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			line, _, _ := strings.Cut(string(b), "\n")
			if line = strings.TrimSpace(strings.TrimRight(line, "\x00")); line != "" {
				return line
			}
		}
	}
	return ""
}

// cpusOf counts the processors of the machine, whatever this process may use of them.
func cpusOf(cpuinfo string) int64 {
	b, err := os.ReadFile(cpuinfo)
	if err != nil {
		return int64(runtime.NumCPU())
	}
	n := int64(0)
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "processor") {
			n++
		}
	}
	if n == 0 {
		return int64(runtime.NumCPU())
	}
	return n
}

// meminfo is /proc/meminfo in bytes.
func meminfo(path string) (map[string]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the node's memory: %w", err)
	}
	defer f.Close()
	out := map[string]int64{}
	for s := bufio.NewScanner(f); s.Scan(); {
		name, rest, _ := strings.Cut(s.Text(), ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			out[name] = n << 10
		}
	}
	if out["MemTotal"] == 0 {
		return nil, fmt.Errorf("reading the node's memory: %s does not tell", path)
	}
	return out, nil
}

// hugepagesOf are the sizes of huge pages in bytes, and what there is of each.
func hugepagesOf(sys string) map[string]int64 {
	out := map[string]int64{}
	dirs, _ := filepath.Glob(filepath.Join(sys, "kernel/mm/hugepages/hugepages-*kB")) // only a bad pattern is an error
	for _, dir := range dirs {
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(firstLine(filepath.Join(dir, "nr_hugepages")), 10, 64)
		if err != nil {
			continue
		}
		out[v1.ResourceHugePagesPrefix+resource.NewQuantity(kb<<10, resource.BinarySI).String()] = n * kb << 10
	}
	return out
}

func osImage(files ...string) string {
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return "Unknown"
}

// capacity is what the machine has, in the formats of the kubelet.
func (m machine) capacity(maxPods int64) v1.ResourceList {
	out := v1.ResourceList{
		v1.ResourceCPU:              *resource.NewMilliQuantity(m.cpus*1000, resource.DecimalSI),
		v1.ResourceMemory:           *resource.NewQuantity(m.memory, resource.BinarySI),
		v1.ResourceEphemeralStorage: *resource.NewQuantity(m.storage, resource.BinarySI),
		v1.ResourcePods:             *resource.NewQuantity(maxPods, resource.DecimalSI),
	}
	for name, n := range m.hugepages {
		out[v1.ResourceName(name)] = *resource.NewQuantity(n, resource.BinarySI)
	}
	return out
}

// allocatable is what pods may have of capacity: less what is reserved, and less where eviction begins.
func allocatable(capacity v1.ResourceList, c NodeConfig, hard []Threshold) v1.ResourceList {
	out := v1.ResourceList{}
	for name, q := range capacity {
		left := q.DeepCopy()
		for _, reserved := range []v1.ResourceList{c.SystemReserved, c.KubeReserved} {
			if r, ok := reserved[name]; ok {
				left.Sub(r)
			}
		}
		for _, t := range hard {
			if t.Signal == signalMemory && name == v1.ResourceMemory || t.Signal == signalNodeFs && name == v1.ResourceEphemeralStorage {
				left.Sub(*resource.NewQuantity(t.of(q.Value()), resource.BinarySI))
			}
		}
		if left.Sign() < 0 {
			left.Set(0)
		}
		out[name] = left
	}
	// Huge pages are memory that ordinary requests cannot have.
	memory := out[v1.ResourceMemory]
	for name, q := range capacity {
		if strings.HasPrefix(string(name), v1.ResourceHugePagesPrefix) {
			memory.Sub(q)
		}
	}
	if memory.Sign() < 0 {
		memory.Set(0)
	}
	out[v1.ResourceMemory] = memory
	return out
}

// of is the threshold for a capacity, in the capacity's unit.
func (t Threshold) of(capacity int64) int64 {
	if t.Percent > 0 {
		return int64(float64(capacity) * t.Percent / 100)
	}
	return t.Quantity.Value()
}
