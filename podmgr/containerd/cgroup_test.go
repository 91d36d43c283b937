package containerd

import (
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/containerd/cgroups/v3/cgroup2"
	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// The classes weigh what their pods request together, as the kubelet has them.
func TestClassesWeighWhatTheirPodsRequest(t *testing.T) {
	g, err := newCgroups(Config{CgroupDriver: "cgroupfs", CgroupRoot: fmt.Sprintf("/agtclass%d", os.Getpid())}, hostLimits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, dir := range g.dirs(g.root) {
			if err := removeCgroup(dir); err != nil {
				t.Error(err)
			}
		}
	})
	pod := func(uid types.UID, cpu string) *v1.Pod {
		p := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "a"}}}}
		p.UID = uid
		if cpu != "" {
			p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}
		}
		return p
	}
	shares := func(q v1.PodQOSClass) uint64 {
		t.Helper()
		name := "cpu.shares"
		if g.unified {
			name = "cpu.weight"
		}
		n, err := readLimit(g.file(g.class(q), "", "cpu", name))
		if err != nil {
			t.Fatal(err)
		}
		if g.unified {
			return sharesOf(uint64(n))
		}
		return uint64(n)
	}
	near := func(what string, got, want uint64) {
		t.Helper()
		coarse := 0.0
		if g.unified { // a weight is coarser than shares
			coarse = 0.05
		}
		if math.Abs(float64(got)-float64(want)) > coarse*float64(want) {
			t.Errorf("%s: the class has %d shares, want %d", what, got, want)
		}
	}
	for _, p := range []*v1.Pod{pod("one", "1"), pod("two", "500m")} {
		if err := g.ensure(p, v1.PodQOSBurstable); err != nil {
			t.Fatal(err)
		}
	}
	near("two burstable pods", shares(v1.PodQOSBurstable), 1024+512)
	if err := g.ensure(pod("three", ""), v1.PodQOSBestEffort); err != nil {
		t.Fatal(err)
	}
	near("a best-effort pod", shares(v1.PodQOSBestEffort), minShares)
	if err := g.remove("two"); err != nil {
		t.Fatal(err)
	}
	near("the other one is removed", shares(v1.PodQOSBurstable), 1024)
	if err := g.remove("one"); err != nil {
		t.Fatal(err)
	}
	near("both are removed", shares(v1.PodQOSBurstable), minShares)
}

func TestSharesOfIsTheWayBack(t *testing.T) {
	for _, shares := range []uint64{minShares, 3, 102, 256, 1024, 5000, maxShares} {
		weight := cgroup2.ConvertCPUSharesToCgroupV2Value(shares)
		fewest := sharesOf(weight)
		if back := cgroup2.ConvertCPUSharesToCgroupV2Value(fewest); back != weight || fewest > shares {
			t.Errorf("%d shares weigh %d, which is taken for %d shares that weigh %d", shares, weight, fewest, back)
		}
	}
}

func TestLimitsInSystemdsWords(t *testing.T) {
	property := func(name string, value uint64) systemd.Property {
		return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	tests := map[string]struct {
		res  specs.LinuxResources
		want []systemd.Property
	}{
		"nothing is told of nothing": {},
		"shares become a weight": {
			res:  specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: new(uint64(1024))}},
			want: []systemd.Property{property("CPUWeight", 100)},
		},
		"a quota is rounded up to whole percents": {
			res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(12_500)), Period: new(uint64(100_000))}},
			want: []systemd.Property{
				property("CPUQuotaPeriodUSec", 100_000), property("CPUQuotaPerSecUSec", 130_000),
			},
		},
		"a quota of none is infinite": {
			res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(-1)), Period: new(uint64(100_000))}},
			want: []systemd.Property{
				property("CPUQuotaPeriodUSec", 100_000), property("CPUQuotaPerSecUSec", math.MaxUint64),
			},
		},
		"memory": {
			res:  specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}},
			want: []systemd.Property{property("MemoryMax", 64<<20)},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := sliceProperties(&tc.res)
			text := func(all []systemd.Property) []string {
				var out []string
				for _, p := range all {
					out = append(out, p.Name+"="+p.Value.String())
				}
				return out
			}
			if d := cmp.Diff(text(tc.want), text(got)); d != "" {
				t.Errorf("properties (-want +got):\n%s", d)
			}
		})
	}
}
