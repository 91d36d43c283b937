package metrics

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// kernelCgroup reads what the kernel says of a cgroup, on v1 and v2.
type kernelCgroup struct {
	t    testing.TB
	name string
}

func (k kernelCgroup) file(controller, name string) string {
	if cgroups.IsCgroup2UnifiedMode() {
		return filepath.Join("/sys/fs/cgroup", k.name, name)
	}
	return filepath.Join("/sys/fs/cgroup", controller, k.name, name)
}

func (k kernelCgroup) cpuNanoseconds() uint64 {
	if cgroups.IsCgroup2UnifiedMode() {
		return 1000 * kernelNumber(k.t, k.file("", "cpu.stat"), "usage_usec")
	}
	return kernelNumber(k.t, k.file("cpuacct", "cpuacct.usage"), "")
}

func (k kernelCgroup) workingSet() uint64 {
	if cgroups.IsCgroup2UnifiedMode() {
		return kernelNumber(k.t, k.file("", "memory.current"), "") - kernelNumber(k.t, k.file("", "memory.stat"), "inactive_file")
	}
	return kernelNumber(k.t, k.file("memory", "memory.usage_in_bytes"), "") - kernelNumber(k.t, k.file("memory", "memory.stat"), "total_inactive_file")
}

// written are the bytes written to all devices.
func (k kernelCgroup) written() uint64 {
	file, v2 := k.file("blkio", "blkio.throttle.io_service_bytes"), false
	if cgroups.IsCgroup2UnifiedMode() {
		file, v2 = k.file("", "io.stat"), true
	}
	b, err := os.ReadFile(file)
	if err != nil {
		k.t.Fatal(err)
	}
	var sum uint64
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		for i, f := range fields {
			value, ok := strings.CutPrefix(f, "wbytes=")
			if !v2 && f == "Write" {
				value, ok = fields[i+1], true
			}
			if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
				sum += n
			}
		}
	}
	return sum
}

// near says whether have lies within slack of want.
func near(have, want, slack uint64) bool { return have+slack >= want && have <= want+slack }

// TestTheNumbersAreTheKernels burns CPU, holds memory, writes bytes and sends datagrams, all of known amount, in real
// cgroups, and compares every answer with the files of the kernel.
func TestTheNumbersAreTheKernels(t *testing.T) {
	w := newWorld(t)
	w.metrics.housekeeper.look(time.Now()) // a sample before, so that there is a rate after
	w.container.work(t)
	w.sandbox.work(t)

	k, pod := kernelCgroup{t, w.cgroup}, kernelCgroup{t, w.pod}
	before, podBefore := k.cpuNanoseconds(), pod.cpuNanoseconds()
	w.metrics.housekeeper.look(time.Now())
	after, podAfter := k.cpuNanoseconds(), pod.cpuNanoseconds()

	cad, res := scrape(t, w.metrics.CadvisorHandler()), scrape(t, w.metrics.ResourceHandler())
	full, err := w.metrics.Summary(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	if len(full.Pods) != 1 || len(full.Pods[0].Containers) != 1 {
		t.Fatalf("the summary has %d pods: %+v", len(full.Pods), full.Pods)
	}
	podStats, stats := full.Pods[0], full.Pods[0].Containers[0]
	labels := map[string]string{"namespace": "shop", "pod": "web", "container": "main"}
	ofPod := map[string]string{"namespace": "shop", "pod": "web", "container": "", "id": w.pod}

	t.Run("CPU", func(t *testing.T) {
		if before < uint64(burnTime) {
			t.Fatalf("the workload burned %d ns, which is less than it should", before)
		}
		between := func(what string, have, lo, hi uint64) {
			t.Helper()
			if have < lo || have > hi {
				t.Errorf("%s: %d ns, the kernel had %d before and %d after", what, have, lo, hi)
			}
		}
		seconds := func(v float64) uint64 { return uint64(v*1e9 + 0.5) }
		between("cAdvisor", seconds(cad.value(t, "container_cpu_usage_seconds_total", labels)), before, after)
		between("cAdvisor, pod", seconds(cad.value(t, "container_cpu_usage_seconds_total", ofPod)), podBefore, podAfter)
		between("resource", seconds(res.value(t, "container_cpu_usage_seconds_total", labels)), before, after)
		between("resource, pod", seconds(res.value(t, "pod_cpu_usage_seconds_total", map[string]string{"pod": "web"})), podBefore, podAfter)
		between("summary", *stats.CPU.UsageCoreNanoSeconds, before, after)
		between("summary, pod", *podStats.CPU.UsageCoreNanoSeconds, podBefore, podAfter)
		if *stats.CPU.UsageNanoCores == 0 {
			t.Error("the summary has no rate, though there were two samples")
		}
	})
	t.Run("memory", func(t *testing.T) {
		const slack = 1 << 20 // the kernel charges in batches, and keeps counters per CPU
		want := k.workingSet()
		if want < heldBytes {
			t.Fatalf("the workload holds %d bytes, less than it should", want)
		}
		for what, have := range map[string]uint64{
			"cAdvisor": uint64(cad.value(t, "container_memory_working_set_bytes", labels)),
			"resource": uint64(res.value(t, "container_memory_working_set_bytes", labels)),
			"summary":  *stats.Memory.WorkingSetBytes,
		} {
			if !near(have, want, slack) {
				t.Errorf("%s: a working set of %d bytes, the kernel has %d", what, have, want)
			}
		}
		if have, want := *podStats.Memory.WorkingSetBytes, pod.workingSet(); !near(have, want, slack) {
			t.Errorf("summary, pod: a working set of %d bytes, the kernel has %d", have, want)
		}
	})
	t.Run("disk I/O", func(t *testing.T) {
		want := k.written()
		if want < wroteBytes || want > wroteBytes+wroteBytes/4 {
			t.Fatalf("the kernel counts %d bytes written, the workload wrote %d", want, wroteBytes)
		}
		if have := sum(cad, "container_fs_writes_bytes_total", labels); have != want {
			t.Errorf("cAdvisor: %d bytes written, the kernel has %d", have, want)
		}
	})
	t.Run("network of the pod", func(t *testing.T) {
		sent := uint64(cad.value(t, "container_network_transmit_bytes_total", map[string]string{"pod": "web", "interface": "eth0"}))
		if sent != sentTotal {
			t.Errorf("cAdvisor: %d bytes sent, the pod sent %d", sent, sentTotal)
		}
		n := podStats.Network
		if n == nil || n.Name != "eth0" || *n.TxBytes != sentTotal || len(n.Interfaces) != 1 {
			t.Errorf("summary: network %+v, want eth0 with %d bytes sent", n, sentTotal)
		}
		if cad.has("container_network_transmit_bytes_total", map[string]string{"container": "main"}) {
			t.Error("the container has a network of its own in the metrics; it is counted twice")
		}
	})
	t.Run("processes", func(t *testing.T) {
		if have := cad.value(t, "container_processes", labels); have != 1 {
			t.Errorf("cAdvisor: %v processes, want 1", have)
		}
		if have := *podStats.ProcessStats.ProcessCount; have != 2 {
			t.Errorf("summary: %d processes, want 2", have)
		}
	})
	t.Run("OOM kills of an instance that is gone count for the pod", func(t *testing.T) {
		if have := cad.value(t, "container_oom_events_total", ofPod); have != 1 {
			t.Errorf("the pod had %v OOM kills, want 1", have)
		}
		if have := cad.value(t, "container_oom_events_total", labels); have != 0 {
			t.Errorf("the running instance had %v OOM kills, want 0", have)
		}
	})
	t.Run("the node", func(t *testing.T) { checkNode(t, w, full, cad) })
}

func checkNode(t *testing.T, w *world, full *statsapi.Summary, cad scraped) {
	n := full.Node
	if n.NodeName != w.config.NodeName || n.CPU == nil || *n.CPU.UsageCoreNanoSeconds == 0 || *n.Memory.WorkingSetBytes == 0 {
		t.Errorf("the node is incomplete: %+v", n)
	}
	if n.Network == nil || n.Swap == nil || n.Fs == nil || *n.Fs.CapacityBytes == 0 || n.Runtime.ImageFs == nil || n.Runtime.ContainerFs == nil {
		t.Errorf("the node lacks network, swap or filesystems: %+v", n)
	}
	if *n.Runtime.ImageFs.UsedBytes != 4096 {
		t.Errorf("images take %d bytes, want 4096", *n.Runtime.ImageFs.UsedBytes)
	}
	if n.Rlimit == nil || *n.Rlimit.MaxPID == 0 || *n.Rlimit.NumOfRunningProcesses == 0 {
		t.Errorf("the node's task limits are missing: %+v", n.Rlimit)
	}
	var pods bool
	for _, s := range n.SystemContainers {
		pods = pods || s.Name == statsapi.SystemContainerPods && *s.CPU.UsageCoreNanoSeconds >= uint64(burnTime)
	}
	if !pods {
		t.Errorf("the system container of the pods is missing: %+v", n.SystemContainers)
	}
	if cad.value(t, "machine_cpu_cores", nil) < 1 || cad.value(t, "container_oom_events_total", map[string]string{"id": "/"}) < 0 {
		t.Error("the machine has no cores")
	}
	if pressureAvailable() && !cad.has("container_pressure_cpu_waiting_seconds_total", map[string]string{"id": "/"}) {
		t.Error("the kernel has pressure stall information, but the node's is not shown")
	}
}

func sum(s scraped, name string, labels map[string]string) uint64 {
	var out uint64
	for _, m := range s[name].GetMetric() {
		match := true
		for _, l := range m.GetLabel() {
			if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
				match = false
			}
		}
		if match {
			out += uint64(m.GetCounter().GetValue())
		}
	}
	return out
}

// TestFilesTakeWhatTheyTake: writable layer, logs, volumes, and the ephemeral storage that is their sum.
func TestFilesTakeWhatTheyTake(t *testing.T) {
	w := newWorld(t)
	const layer, log, data, kept = 3 << 20, 1 << 20, 2 << 20, 5 << 20
	w.mountLayer(t, layer)
	writeBytes(t, filepath.Join(w.config.PodLogs, "shop_web_"+w.uid, "main", "0.log"), log)
	writeBytes(t, w.config.VolumeDir(nil, &w.pods[0].Object.Spec.Volumes[0])+"/x", data)
	writeBytes(t, w.config.VolumeDir(nil, &w.pods[0].Object.Spec.Volumes[1])+"/x", kept)
	w.metrics.disks.measure(context.Background(), time.Now())
	w.metrics.housekeeper.look(time.Now())

	full, err := w.metrics.Summary(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	p := full.Pods[0]
	const slack = 64 << 10 // directories, and blocks that round up
	for what, x := range map[string]struct{ have, want uint64 }{
		"writable layer":    {*p.Containers[0].Rootfs.UsedBytes, layer},
		"logs":              {*p.Containers[0].Logs.UsedBytes, log},
		"emptyDir":          {*p.VolumeStats[0].UsedBytes, data},
		"claim":             {*p.VolumeStats[1].UsedBytes, kept},
		"ephemeral storage": {*p.EphemeralStorage.UsedBytes, layer + log + data},
		"all layers":        {*full.Node.Runtime.ContainerFs.UsedBytes, layer},
	} {
		if !near(x.have, x.want, slack) {
			t.Errorf("%s: %d bytes, want %d", what, x.have, x.want)
		}
	}
	if ref := p.VolumeStats[1].PVCRef; ref == nil || ref.Name != "claim" || ref.Namespace != "shop" {
		t.Errorf("the claim's volume refers to %v", ref)
	}
	cad := scrape(t, w.metrics.CadvisorHandler())
	labels := map[string]string{"namespace": "shop", "pod": "web", "container": "main"}
	if have := uint64(cad.value(t, "container_fs_usage_bytes", labels)); !near(have, layer+log, slack) {
		t.Errorf("cAdvisor: the container's files take %d bytes, want %d", have, layer+log)
	}
	agent := scrape(t, w.metrics.AgentHandler())
	if have := agent.value(t, "kubelet_volume_stats_used_bytes", map[string]string{"persistentvolumeclaim": "claim"}); !near(uint64(have), kept, slack) {
		t.Errorf("kubelet_volume_stats_used_bytes: %v, want %d", have, kept)
	}
	if have := agent.value(t, "kubelet_container_log_filesystem_used_bytes", labels); !near(uint64(have), log, slack) {
		t.Errorf("kubelet_container_log_filesystem_used_bytes: %v, want %d", have, log)
	}
}

// TestWhatEndsIsForgottenAndWhatComesIsFound: the housekeeper follows the cgroups, not a list.
func TestWhatEndsIsForgottenAndWhatComesIsFound(t *testing.T) {
	w := newWorld(t)
	h := w.metrics.housekeeper
	h.look(time.Now())
	if s := h.latest.Load(); s.ids[w.id] == nil || s.sandboxes[w.uid] == nil || s.pods[w.uid] == nil {
		t.Fatalf("after the first look: containers %v, pods %v", s.ids, s.pods)
	}
	w.container.end()
	for _, dir := range cgroupDirs(t, w.cgroup) {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	h.look(time.Now())
	if s := h.latest.Load(); s.ids[w.id] != nil || s.pods[w.uid] == nil {
		t.Errorf("after the container's end: containers %v, pods %v", s.ids, s.pods)
	}
	if scrape(t, w.metrics.CadvisorHandler()).has("container_cpu_usage_seconds_total", map[string]string{"container": "main"}) {
		t.Error("a container that is gone is still in the metrics")
	}
}

// TestAContainerOfAnotherEngineIsLeftAlone: a cgroup that looks like ours is not ours when containerd does not know it.
func TestAContainerOfAnotherEngineIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	foreign := w.pod + "/" + hexID(99)
	makeCgroups(t, foreign)
	spawn(t, "idle", foreign, "")
	h := w.metrics.housekeeper
	h.look(time.Now())
	h.look(time.Now())
	if s := h.latest.Load(); s.ids[hexID(99)] != nil || s.ids[w.id] == nil {
		t.Errorf("containers are %v", s.ids)
	}
	if _, refused := h.refused[foreign]; !refused {
		t.Error("the engine would be asked for it at every look")
	}
}

// TestAnIdleContainerKeepsItsSample: as long as no CPU is used, a look reads one file; and not for ever.
func TestAnIdleContainerKeepsItsSample(t *testing.T) {
	w := newWorld(t)
	h := w.metrics.housekeeper
	k := kernelCgroup{t, w.cgroup}
	for settled := k.cpuNanoseconds(); ; { // the runtime of the workload still has things to do at first
		time.Sleep(300 * time.Millisecond)
		if now := k.cpuNanoseconds(); now == settled {
			break
		} else {
			settled = now
		}
	}
	now := time.Now()
	h.look(now)
	first := h.latest.Load().ids[w.id]
	h.look(now.Add(w.config.Housekeeping))
	if h.latest.Load().ids[w.id] != first {
		t.Error("nothing happened in the container, and it was read again")
	}
	h.look(now.Add(idleIntervals * w.config.Housekeeping))
	third := h.latest.Load().ids[w.id]
	if third == first {
		t.Error("the sample is held for longer than it may")
	}
	w.container.work(t)
	h.look(now.Add(idleIntervals*w.config.Housekeeping + time.Millisecond))
	if h.latest.Load().ids[w.id] == third {
		t.Error("the container worked, and was not read again")
	}
}
