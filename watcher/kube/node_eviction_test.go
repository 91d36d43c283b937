//go:build !nokube

package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"edgepod.dev/agent/manifests"
)

func number(n uint64) *uint64 { return &n }

func using(name string, priority int32, memory, asked string) candidate {
	used := resource.MustParse(memory)
	c := v1.Container{Name: "c"}
	if asked != "" {
		c.Resources.Requests = v1.ResourceList{v1.ResourceMemory: resource.MustParse(asked)}
	}
	return candidate{
		key: manifests.Key{Name: name}, pod: &v1.Pod{Spec: v1.PodSpec{Priority: &priority, Containers: []v1.Container{c}}},
		stats: &statsapi.PodStats{
			Memory:     &statsapi.MemoryStats{WorkingSetBytes: number(uint64(used.Value()))},
			Containers: []statsapi.ContainerStats{{Name: "c", Memory: &statsapi.MemoryStats{WorkingSetBytes: number(uint64(used.Value()))}}},
		},
	}
}

func TestWhoGoesFirst(t *testing.T) {
	list := []candidate{
		using("within its request, low priority", -10, "50Mi", "100Mi"),
		using("a little over", 0, "120Mi", "100Mi"),
		using("far over, high priority", 1000, "900Mi", "100Mi"),
		using("far over", 0, "500Mi", ""),
		using("within its request", 0, "50Mi", "60Mi"),
	}
	rank(list, Threshold{Signal: signalMemory})
	var got []string
	for _, c := range list {
		got = append(got, c.key.Name)
	}
	want := []string{"far over", "a little over", "far over, high priority", "within its request, low priority", "within its request"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestThresholdsAreComparedWithWhatIsMeasured(t *testing.T) {
	hard, err := readThresholds([]string{"nodefs.available<10%", "memory.available<100Mi", "pid.available<100", "imagefs.available<10%"})
	if err != nil {
		t.Fatal(err)
	}
	pids, running := int64(1000), int64(950)
	seen := observe(&statsapi.Summary{Node: statsapi.NodeStats{
		Memory: &statsapi.MemoryStats{WorkingSetBytes: number(950 << 20)},
		Fs:     &statsapi.FsStats{AvailableBytes: number(9), CapacityBytes: number(100)},
		Rlimit: &statsapi.RlimitStats{MaxPID: &pids, NumOfRunningProcesses: &running},
	}}, 1000<<20)
	var got []string
	for _, s := range shortages(hard, seen) {
		got = append(got, s.Signal+" "+s.message(seen[s.Signal]))
	}
	want := []string{
		"memory.available The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ",
		"nodefs.available The node was low on resource: ephemeral-storage. Threshold quantity: 10, available: 9. ",
		"pid.available The node was low on resource: pids. Threshold quantity: 100, available: 50. ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAnEvictedPodIsTold(t *testing.T) {
	c := using("p", 0, "120Mi", "100Mi")
	if diff := cmp.Diff("Container c was using 120Mi, request is 100Mi, has larger consumption of memory. ", c.consumption(v1.ResourceMemory)); diff != "" {
		t.Error(diff)
	}
}

func TestLimitsOfLocalStorage(t *testing.T) {
	size := resource.MustParse("1Mi")
	c := candidate{
		pod: &v1.Pod{Spec: v1.PodSpec{
			Volumes: []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{SizeLimit: &size}}}},
			Containers: []v1.Container{
				{Name: "a", Resources: v1.ResourceRequirements{Limits: v1.ResourceList{v1.ResourceEphemeralStorage: size}}},
				{Name: "b"},
			},
		}},
		stats: &statsapi.PodStats{},
	}
	for _, test := range []struct {
		name         string
		volume, logs uint64
		want         string
	}{
		{"nothing is over", 1 << 20, 1 << 20, ""},
		{"a volume is over", 1<<20 + 1, 0, `Usage of EmptyDir volume "v" exceeds the limit "1Mi". `},
		{"a container is over with its logs", 0, 1<<20 + 1, `Container a exceeded its local ephemeral storage limit "1Mi". `},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.stats.VolumeStats = []statsapi.VolumeStats{{Name: "v", FsStats: statsapi.FsStats{UsedBytes: &test.volume}}}
			c.stats.Containers = []statsapi.ContainerStats{{Name: "a", Logs: &statsapi.FsStats{UsedBytes: &test.logs}}}
			if diff := cmp.Diff(test.want, c.overLimit()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllocatableIsWhatIsLeftForPods(t *testing.T) {
	m := machine{cpus: 4, memory: 4 << 30, storage: 100 << 30, hugepages: map[string]int64{"hugepages-2Mi": 1 << 30}}
	hard, err := readThresholds([]string{"memory.available<100Mi", "nodefs.available<10%"})
	if err != nil {
		t.Fatal(err)
	}
	got := allocatable(m.capacity(20), NodeConfig{
		SystemReserved: v1.ResourceList{v1.ResourceCPU: resource.MustParse("500m")},
		KubeReserved:   v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")},
	}, hard)
	text := map[string]string{}
	for name, q := range got {
		text[string(name)] = q.String()
	}
	want := map[string]string{"cpu": "3500m", "memory": "1948Mi", "ephemeral-storage": "90Gi", "pods": "20", "hugepages-2Mi": "1Gi"}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}
