package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// scrape is one look of a Prometheus at a path of the agent.
func scrape(t *testing.T, n *node.Node, path string) map[string]*dto.MetricFamily {
	t.Helper()
	text := n.Get(path)
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s is no Prometheus text: %v", path, err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// The kubelet's and cAdvisor's names are as people's dashboards know them.
		if !slices.ContainsFunc([]string{"kubelet_", "container_", "machine_", "cadvisor_"}, func(s string) bool { return strings.HasPrefix(p.Metric, s) }) {
			t.Errorf("%s: %s: %s", path, p.Metric, p.Text)
		}
	}
	return families
}

// value is the sum of the series of a metric that have the labels, "name=value"; NaN without any.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	sum, found := 0.0, false
	for _, m := range families[name].GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[l.GetName()+"="+l.GetValue()] = true
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !have[l] }) {
			continue
		}
		found = true
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	if !found {
		return math.NaN()
	}
	return sum
}

// TestNumbers: what Prometheus, metrics-server and `agent top` read, against what the kernel says.
func TestNumbers(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Args = append(n.Args, "--housekeeping-interval", "1s")
		n.Start()
		probe := &v1.Probe{PeriodSeconds: 1, ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(8080)}}}
		web := node.Pod("web", "mkdir /www; httpd -p 8080 -h /www; "+node.Sleep)
		web.Spec.Containers[0].ReadinessProbe = probe
		crash := node.Pod("crash", "exit 3")
		// Half a second of CPU, 24 MiB of memory (shared memory is the container's), 8 MiB in its layer.
		work := node.Pod("work", `dd if=/dev/zero of=/dev/shm/x bs=1M count=24; dd if=/dev/urandom of=/written bs=1M count=8 conv=fsync
			until [ "$(awk '{print ($14+$15 >= 50)}' /proc/1/stat)" = 1 ]; do i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; done; echo worked; `+node.Sleep)
		n.Apply(web, crash, work)
		p := n.WaitRunning("web", "work")
		said(n, "work", "worked")
		waiting(n, "crash", "CrashLoopBackOff")
		n.MustAgent("exec", "web", "--", "true")

		t.Run("the agent's own", func(t *testing.T) { n.Use(t); agentNumbers(t, n) })
		t.Run("cAdvisor's are the kernel's", func(t *testing.T) { n.Use(t); kernelNumbers(t, n, p) })
		t.Run("the summary and top", func(t *testing.T) { n.Use(t); summaryNumbers(t, n) })
	})
}

func agentNumbers(t *testing.T, n *node.Node) {
	want := map[string]float64{
		"kubelet_runtime_operations_total operation_type=run_podsandbox":             3,
		"kubelet_runtime_operations_total operation_type=start_container":            4,
		"kubelet_runtime_operations_duration_seconds operation_type=start_container": 4,
		"kubelet_runtime_operations_total operation_type=podsandbox_status":          3,
		"kubelet_run_podsandbox_duration_seconds":                                    3,
		"kubelet_pod_start_duration_seconds":                                         2,
		"kubelet_pod_worker_duration_seconds operation_type=sync":                    3,
		"kubelet_pod_worker_start_duration_seconds":                                  3,
		"kubelet_started_containers_total container_type=container":                  3,

		"kubelet_running_pods":                                      2,
		"kubelet_running_containers container_state=running":        2,
		"kubelet_http_requests_total method=GET path=pods":          1,
		"kubelet_http_requests_total path=exec long_running=true":   1,
		"agent_container_restarts_total pod=crash":                  1,
		"agent_container_waiting pod=crash reason=CrashLoopBackOff": 1,

		"agent_images":            1,
		"agent_images_pinned":     1,
		"agent_pod_ready pod=web": 1,
		"go_goroutines":           1,
		"process_open_fds":        1,

		"kubelet_terminated_containers_total exit_code=3 reason=Error": 1,
		"kubelet_desired_pods static=true":                             3,
	}
	n.Eventually("the agent's metrics to be there", func() string {
		families := scrape(t, n, "/metrics")
		for what, least := range want {
			f := strings.Fields(what)
			if v := value(families, f[0], f[1:]...); !(v >= least) {
				return fmt.Sprintf("%s is %v, want at least %v", what, v, least)
			}
		}
		if v := value(scrape(t, n, "/metrics/probes"), "prober_probe_total", "pod=web", "probe_type=Readiness", "result=successful"); !(v >= 1) {
			return fmt.Sprintf("%v successful probes were counted", v)
		}
		return ""
	})
	if v := value(scrape(t, n, "/metrics"), "kubelet_runtime_operations_errors_total"); v > 0 {
		t.Errorf("%v operations failed where none should", v)
	}
}

// field is the number behind a name in a file of names and numbers; the whole file without a name.
func field(text, name string) float64 {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if name == "" && len(f) == 1 || len(f) == 2 && f[0] == name {
			v, _ := strconv.ParseFloat(f[len(f)-1], 64)
			return v
		}
	}
	return math.NaN()
}

// written sums the bytes written in blkio.throttle.io_service_bytes or io.stat; NaN where the kernel counts none.
func written(text string) float64 {
	sum, found := 0.0, false
	for line := range strings.Lines(text) {
		for i, f := range strings.Fields(line) {
			if v, ok := strings.CutPrefix(f, "wbytes="); ok {
				b, _ := strconv.ParseFloat(v, 64)
				sum, found = sum+b, true
			}
			if f == "Write" && i == 1 {
				b, _ := strconv.ParseFloat(strings.Fields(line)[2], 64)
				sum, found = sum+b, true
			}
		}
	}
	if !found {
		return math.NaN()
	}
	return sum
}

func near(have, want, share, absolute float64) bool {
	return math.Abs(have-want) <= math.Max(share*want, absolute)
}

func kernelNumbers(t *testing.T, n *node.Node, p *v1.Pod) {
	of := []string{"namespace=default", "pod=work", "container=app"}
	n.Eventually("cAdvisor to say what the kernel says", func() string {
		f := scrape(t, n, "/metrics/cadvisor")
		usage := cgroupFile(t, n, p.Name, "cpuacct", "cpuacct.usage", "cpu.stat")
		cpu := field(usage, "") / 1e9
		if math.IsNaN(cpu) {
			cpu = field(usage, "usage_usec") / 1e6
		}
		if v := value(f, "container_cpu_usage_seconds_total", of...); !near(v, cpu, 0.02, 0.02) || cpu < 0.45 {
			return fmt.Sprintf("CPU: %v s, the kernel says %v, at least 0.5 were burnt", v, cpu)
		}
		memory := field(cgroupFile(t, n, p.Name, "memory", "memory.usage_in_bytes", "memory.current"), "")
		if v := value(f, "container_memory_usage_bytes", of...); !near(v, memory, 0.02, 1<<20) || memory < 24<<20 {
			return fmt.Sprintf("memory: %v bytes, the kernel says %v, 24 MiB were taken", v, memory)
		}
		if v := value(f, "container_memory_working_set_bytes", of...); v < 24<<20 || v > memory {
			return fmt.Sprintf("working set: %v bytes of %v, 24 MiB of it shared memory", v, memory)
		}
		io := written(cgroupFile(t, n, p.Name, "blkio", "blkio.throttle.io_service_bytes", "io.stat"))
		if v := value(f, "container_fs_writes_bytes_total", of...); !math.IsNaN(io) && !near(v, io, 0.01, 4096) {
			return fmt.Sprintf("writes: %v bytes, the kernel says %v", v, io)
		}
		if math.IsNaN(io) || io < 8<<20 {
			t.Logf("the kernel counts %v bytes written, of 8 MiB: its disk does not account for them all", io)
		}
		return ""
	})
	n.Within(90*time.Second, "the use of the writable layer", func() string {
		var s stats.Summary
		if err := json.Unmarshal([]byte(n.Get("/stats/summary")), &s); err != nil {
			t.Fatal(err)
		}
		for _, pod := range s.Pods {
			if pod.PodRef.Name == "work" && len(pod.Containers) == 1 && pod.Containers[0].Rootfs != nil && pod.Containers[0].Rootfs.UsedBytes != nil {
				if used := float64(*pod.Containers[0].Rootfs.UsedBytes); !near(used, 8<<20, 0.01, 64<<10) {
					return fmt.Sprintf("the layer uses %v bytes, want 8 MiB", used)
				}
				return ""
			}
		}
		return "it is not measured yet"
	})
}

func summaryNumbers(t *testing.T, n *node.Node) {
	var s stats.Summary
	if err := json.Unmarshal([]byte(n.Get("/stats/summary")), &s); err != nil {
		t.Fatal(err)
	}
	if s.Node.NodeName != "e2e" || s.Node.CPU == nil || s.Node.Memory == nil || s.Node.Fs == nil || s.Node.Rlimit == nil || s.Node.Swap == nil || len(s.Pods) != 3 {
		t.Errorf("the summary lacks parts: %+v with %d pods", s.Node, len(s.Pods))
	}
	resource := scrape(t, n, "/metrics/resource")
	for _, name := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "pod_cpu_usage_seconds_total", "pod_memory_working_set_bytes"} {
		if v := value(resource, name, "namespace=default", "pod=work"); !(v > 0) {
			t.Errorf("/metrics/resource has %s = %v", name, v)
		}
	}
	out := n.MustAgent("top", "pods")
	if !strings.Contains(out, "work") || !strings.Contains(out, "Mi") {
		t.Errorf("top pods shows\n%s", out)
	}
	if out := n.MustAgent("top", "node"); !strings.Contains(out, "e2e") || !strings.Contains(out, "%") {
		t.Errorf("top node shows\n%s", out)
	}
	if out := n.MustAgent("get", "node"); !strings.Contains(out, "e2e") || !strings.Contains(out, "Ready") {
		t.Errorf("get node shows\n%s", out)
	}
}
