//go:build !nokube

package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	requests "k8s.io/component-helpers/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// observation is what one signal measured.
type observation struct{ available, capacity int64 }

// observe reads the signals out of a summary; memory is the capacity of the node, which the root cgroup does not tell.
func observe(s *statsapi.Summary, memory int64) map[string]observation {
	out := map[string]observation{}
	put := func(signal string, available, capacity *uint64) {
		if available != nil && capacity != nil && *capacity > 0 {
			out[signal] = observation{clamp(*available), clamp(*capacity)}
		}
	}
	if m := s.Node.Memory; m != nil && m.WorkingSetBytes != nil && *m.WorkingSetBytes > 0 && memory > 0 {
		out[signalMemory] = observation{max(0, memory-clamp(*m.WorkingSetBytes)), memory}
	}
	if fs := s.Node.Fs; fs != nil {
		put(signalNodeFs, fs.AvailableBytes, fs.CapacityBytes)
		put(signalNodeFsInodes, fs.InodesFree, fs.Inodes)
	}
	if r := s.Node.Runtime; r != nil && r.ImageFs != nil {
		put(signalImageFs, r.ImageFs.AvailableBytes, r.ImageFs.CapacityBytes)
		put(signalImageInodes, r.ImageFs.InodesFree, r.ImageFs.Inodes)
	}
	if l := s.Node.Rlimit; l != nil && l.MaxPID != nil && l.NumOfRunningProcesses != nil {
		out[signalPIDs] = observation{max(0, *l.MaxPID-*l.NumOfRunningProcesses), *l.MaxPID}
	}
	return out
}

func clamp(n uint64) int64 { return int64(min(n, 1<<62)) } //nolint:gosec // bounded

// shortages are the thresholds that are met, memory first: a node without memory has no time.
func shortages(hard []Threshold, seen map[string]observation) (out []Threshold) {
	for _, t := range hard {
		if o, measured := seen[t.Signal]; measured && o.available < t.of(o.capacity) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b Threshold) int {
		order := func(t Threshold) int {
			if t.Signal == signalMemory {
				return 0
			}
			return 1
		}
		return order(a) - order(b)
	})
	return out
}

// candidate is a pod that could go.
type candidate struct {
	key   manifests.Key
	pod   *v1.Pod
	stats *statsapi.PodStats
}

// systemCritical is the priority from which pods are the cluster's own.
const systemCritical = 2_000_000_000

func (c candidate) critical() bool { return c.priority() >= systemCritical }

func (c candidate) priority() int32 {
	if c.pod.Spec.Priority == nil {
		return 0
	}
	return *c.pod.Spec.Priority
}

// usage is how much of a resource the pod uses.
func (c candidate) usage(name v1.ResourceName) int64 {
	value := func(n *uint64) int64 {
		if n == nil {
			return 0
		}
		return clamp(*n)
	}
	switch name {
	case v1.ResourceMemory:
		if m := c.stats.Memory; m != nil && m.WorkingSetBytes != nil {
			return value(m.WorkingSetBytes)
		}
		sum := int64(0)
		for _, x := range c.stats.Containers {
			if x.Memory != nil {
				sum += value(x.Memory.WorkingSetBytes)
			}
		}
		return sum
	case v1.ResourceEphemeralStorage:
		if fs := c.stats.EphemeralStorage; fs != nil {
			return value(fs.UsedBytes)
		}
	case "inodes":
		if fs := c.stats.EphemeralStorage; fs != nil {
			return value(fs.InodesUsed)
		}
	case "pids":
		if p := c.stats.ProcessStats; p != nil {
			return value(p.ProcessCount)
		}
	}
	return 0
}

// requested is what the pod asked for.
func (c candidate) requested(name v1.ResourceName) int64 {
	q := requests.PodRequests(c.pod, requests.PodResourcesOptions{})[name]
	return q.Value()
}

// rank sorts by who goes first, as the kubelet: those that use more than they asked for, then by priority, then by how much
// more they use. Of process numbers nobody asks for any.
func rank(list []candidate, t Threshold) {
	name := t.resource()
	slices.SortStableFunc(list, func(a, b candidate) int {
		overA, overB := a.usage(name)-a.requested(name), b.usage(name)-b.requested(name)
		if name != "pids" && name != "inodes" && (overA > 0) != (overB > 0) {
			if overA > 0 {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.priority(), b.priority()), cmp.Compare(overB, overA))
	})
}

// consumption tells which containers use more than they asked for.
func (c candidate) consumption(name v1.ResourceName) string {
	if name != v1.ResourceMemory && name != v1.ResourceEphemeralStorage {
		return ""
	}
	var out strings.Builder
	for _, spec := range c.pod.Spec.Containers {
		for _, x := range c.stats.Containers {
			if x.Name != spec.Name {
				continue
			}
			used, asked := containerUsage(x, name), spec.Resources.Requests[name]
			if used > asked.Value() {
				fmt.Fprintf(&out, "Container %s was using %s, request is %s, has larger consumption of %s. ", spec.Name, quantityOf(name, used), asked.String(), name)
			}
		}
	}
	return out.String()
}

func containerUsage(x statsapi.ContainerStats, name v1.ResourceName) (sum int64) {
	if name == v1.ResourceMemory {
		if x.Memory != nil && x.Memory.WorkingSetBytes != nil {
			sum = clamp(*x.Memory.WorkingSetBytes)
		}
		return sum
	}
	for _, fs := range []*statsapi.FsStats{x.Rootfs, x.Logs} {
		if fs != nil && fs.UsedBytes != nil {
			sum += clamp(*fs.UsedBytes)
		}
	}
	return sum
}

// overLimit says which limit of local storage the pod has overstepped; empty when none.
func (c candidate) overLimit() string {
	for _, v := range c.pod.Spec.Volumes {
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		for _, st := range c.stats.VolumeStats {
			if st.Name == v.Name && st.UsedBytes != nil && clamp(*st.UsedBytes) > v.EmptyDir.SizeLimit.Value() {
				return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
			}
		}
	}
	if limit, ok := requests.PodLimits(c.pod, requests.PodResourcesOptions{})[v1.ResourceEphemeralStorage]; ok && limit.Sign() > 0 {
		if c.usage(v1.ResourceEphemeralStorage) > limit.Value() && everyContainerHas(c.pod, v1.ResourceEphemeralStorage) {
			return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
		}
	}
	for _, spec := range c.pod.Spec.Containers {
		limit, ok := spec.Resources.Limits[v1.ResourceEphemeralStorage]
		for _, x := range c.stats.Containers {
			if ok && limit.Sign() > 0 && x.Name == spec.Name && containerUsage(x, v1.ResourceEphemeralStorage) > limit.Value() {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", spec.Name, limit.String())
			}
		}
	}
	return ""
}

// everyContainerHas says whether the sum of limits is one of the pod: a container without one has no end.
func everyContainerHas(p *v1.Pod, name v1.ResourceName) bool {
	return !slices.ContainsFunc(p.Spec.Containers, func(c v1.Container) bool {
		_, ok := c.Resources.Limits[name]
		return !ok
	})
}

// quantityOf writes an amount of a resource.
func quantityOf(name v1.ResourceName, n int64) string {
	format := resource.DecimalSI
	if name == v1.ResourceMemory || name == v1.ResourceEphemeralStorage {
		format = resource.BinarySI
	}
	return resource.NewQuantity(n, format).String()
}
