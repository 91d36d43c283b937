package containerd

import (
	"testing"

	"edgepod.dev/agent/podmgr"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// list reads pairs of names and quantities.
func list(pairs ...string) v1.ResourceList {
	l := v1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[v1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func needs(name string, requests, limits v1.ResourceList) v1.Container {
	return v1.Container{Name: name, Resources: v1.ResourceRequirements{Requests: requests, Limits: limits}}
}

func sidecar(c v1.Container) v1.Container {
	c.RestartPolicy = new(v1.ContainerRestartPolicyAlways)
	return c
}

// cgroupOf is what a cgroup is given: shares, quota in µs per 100 ms, memory in bytes; 0 is none.
func cgroupOf(shares uint64, quota, memory int64, pages ...specs.LinuxHugepageLimit) *specs.LinuxResources {
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}, Memory: &specs.LinuxMemory{}, HugepageLimits: pages}
	if quota > 0 {
		r.CPU.Quota, r.CPU.Period = &quota, new(uint64(100_000))
	}
	if memory > 0 {
		r.Memory.Limit = &memory
	}
	return r
}

func TestAKillForMemoryTakesTheWholeContainerWhereTheKernelCan(t *testing.T) {
	for unified, want := range map[bool]map[string]string{true: {"memory.oom.group": "1"}, false: nil} {
		s, err := containerSpec(&v1.Pod{}, &v1.Container{Command: []string{"x"}}, &image{}, identityOf{}, sandboxView{unified: unified})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.Linux.Resources.Unified); diff != "" {
			t.Errorf("cgroup v2 is %v: %s", unified, diff)
		}
	}
}

func TestCgroupValuesAreTheKubelets(t *testing.T) {
	huge := []string{"2MB", "1GB"}
	pages := func(two, one uint64) []specs.LinuxHugepageLimit {
		return []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: two}, {Pagesize: "1GB", Limit: one}}
	}
	const mi = 1 << 20
	cases := map[string]struct {
		spec       v1.PodSpec
		pod, first *specs.LinuxResources // first: of the first main container
		oom        int                   // of it, on a box with 1000 Mi
		sidecarOOM int                   // of the first init container
	}{
		"nothing is asked for": {
			spec: v1.PodSpec{Containers: []v1.Container{needs("a", nil, nil)}},
			pod:  cgroupOf(2, 0, 0), first: cgroupOf(2, 0, 0, pages(0, 0)...), oom: 1000,
		},
		"a container without a limit leaves the pod without one": {
			spec: v1.PodSpec{Containers: []v1.Container{
				needs("a", list("cpu", "100m", "memory", "100Mi"), list("cpu", "500m", "memory", "200Mi")),
				needs("b", list("cpu", "100m", "memory", "100Mi"), list("cpu", "500m")),
			}},
			pod: cgroupOf(204, 100_000, 0), first: cgroupOf(102, 50_000, 200*mi, pages(0, 0)...), oom: 900,
		},
		"init containers run before the others, sidecars beside them": {
			spec: v1.PodSpec{
				InitContainers: []v1.Container{
					sidecar(needs("s", list("cpu", "50m", "memory", "50Mi"), list("cpu", "100m", "memory", "50Mi"))),
					needs("i", list("cpu", "1", "memory", "20Mi"), list("cpu", "2", "memory", "40Mi")),
				},
				Containers: []v1.Container{
					needs("a", list("cpu", "100m", "memory", "300Mi"), list("cpu", "500m", "memory", "300Mi")),
				},
			},
			// CPU: the init container with the sidecar; memory: the main container with the sidecar.
			pod: cgroupOf(1075, 210_000, 350*mi), first: cgroupOf(102, 50_000, 300*mi, pages(0, 0)...), oom: 700, sidecarOOM: 700,
		},
		"the pod says what it needs as a whole": {
			spec: v1.PodSpec{
				Resources: &v1.ResourceRequirements{
					Requests: list("cpu", "1", "memory", "400Mi"), Limits: list("cpu", "2", "memory", "500Mi", "hugepages-2Mi", "8Mi"),
				},
				Containers: []v1.Container{needs("a", list("memory", "100Mi"), nil), needs("b", list("cpu", "100m"), list("cpu", "300m"))},
			},
			// a: 100 Mi of its own and half of the 300 Mi that no container asks for.
			pod: cgroupOf(1024, 200_000, 500*mi), first: cgroupOf(2048, 200_000, 500*mi, pages(8*mi, 0)...), oom: 750,
		},
		"huge pages are those that a container asks for": {
			spec: v1.PodSpec{Containers: []v1.Container{
				needs("a", list("cpu", "1", "memory", "10Mi", "hugepages-2Mi", "4Mi"), list("cpu", "1", "memory", "10Mi", "hugepages-2Mi", "4Mi")),
				needs("b", list("cpu", "1", "memory", "10Mi", "hugepages-2Mi", "2Mi"), list("cpu", "1", "memory", "10Mi", "hugepages-2Mi", "2Mi")),
			}},
			pod:   cgroupOf(2048, 200_000, 20*mi, specs.LinuxHugepageLimit{Pagesize: "2MB", Limit: 6 * mi}),
			first: cgroupOf(1024, 100_000, 10*mi, pages(4*mi, 0)...), oom: -997,
		},
		"the node needs the pod": {
			spec: v1.PodSpec{PriorityClassName: "system-node-critical", Containers: []v1.Container{needs("a", list("cpu", "1"), nil)}},
			pod:  cgroupOf(1024, 0, 0), first: cgroupOf(1024, 0, 0, pages(0, 0)...), oom: -997,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := &v1.Pod{Spec: c.spec}
			q := podmgr.QOSClass(p)
			if d := cmp.Diff(c.pod, podResources(p, q, huge)); d != "" {
				t.Errorf("the pod's cgroup (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.first, containerResources(p, &p.Spec.Containers[0], huge)); d != "" {
				t.Errorf("the container's cgroup (-want +got):\n%s", d)
			}
			free := hostLimits{minOOMScoreAdj: -1000}
			if adj := oomScoreAdj(p, &p.Spec.Containers[0], q, 1000*mi, free); adj != c.oom {
				t.Errorf("its oom_score_adj is %d, want %d", adj, c.oom)
			}
			if len(p.Spec.InitContainers) > 0 {
				if adj := oomScoreAdj(p, &p.Spec.InitContainers[0], q, 1000*mi, free); adj != c.sidecarOOM {
					t.Errorf("the sidecar's oom_score_adj is %d, want %d", adj, c.sidecarOOM)
				}
			}
			if err := checkHugePages(p, &p.Spec.Containers[0], huge); err != nil {
				t.Error(err)
			}
		})
	}
	p := &v1.Pod{Spec: cases["huge pages are those that a container asks for"].spec}
	if err := checkHugePages(p, &p.Spec.Containers[0], nil); err == nil {
		t.Error("huge pages that nobody counts are given")
	}
}
