package metrics

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var update = flag.Bool("update", false, "write the golden files anew")

// exercise has the Recorder see one of everything.
func exercise(r *Recorder) {
	r.PodWorked("sync", time.Millisecond)
	r.PodWorkerStarted(time.Millisecond)
	r.RuntimeOperation("podsandbox_status", time.Millisecond, nil)
	r.RuntimeOperation("start_container", time.Millisecond, nil)
	r.RuntimeOperation("stop_container", time.Millisecond, errors.New("no"))
	r.RuntimeOperation("run_podsandbox", time.Second, nil)
	r.RuntimeOperation("run_podsandbox", time.Second, errors.New("no"))
	r.ContainerStartFailed("container", "CreateContainerError")
	r.ImagePulled(20<<20, time.Second, nil)
	r.Request("GET", "pods", "readwrite", false)
	r.Probe(Probe{Pod: manifests.Key{Namespace: "shop", Name: "web"}, UID: "u", Container: "main", Type: "Liveness", Result: ProbeSuccessful, Took: time.Millisecond})
	r.starts.containers.WithLabelValues("container").Inc()
	r.starts.terminated.WithLabelValues("container", "137", "OOMKilled").Inc()
}

// everything is a world in which every metric has something to show.
func everything(t *testing.T) (*world, map[string]http.Handler) {
	t.Helper()
	w := newWorld(t)
	w.mountLayer(t, 4096)
	writeBytes(t, filepath.Join(w.config.PodLogs, "shop_web_"+w.uid, "main", "0.log"), 10)
	for i := range w.pods[0].Object.Spec.Volumes {
		writeBytes(t, w.config.VolumeDir(nil, &w.pods[0].Object.Spec.Volumes[i])+"/x", 10)
	}
	waiting := testPod("0f1e2d3c-0000-8000-8000-000000000002", hexID(8))
	waiting.Key.Name, waiting.Object.Name = "stuck", "stuck"
	c := &waiting.Status.ContainerStatuses[0]
	c.State.Running, c.ContainerID = nil, ""
	c.State.Waiting = waitingFor("ImagePullBackOff")
	w.pods = append(w.pods, waiting)

	// A limit, so that there are periods to be throttled in.
	for _, dir := range cgroupDirs(t, w.cgroup) {
		_ = os.WriteFile(filepath.Join(dir, "cpu.cfs_quota_us"), []byte("50000"), 0)
		_ = os.WriteFile(filepath.Join(dir, "cpu.max"), []byte("50000 100000"), 0)
	}
	w.container.work(t)
	w.sandbox.work(t)
	exercise(w.metrics.recorder)
	w.metrics.disks.measure(context.Background(), time.Now())
	w.metrics.housekeeper.look(time.Now())
	return w, map[string]http.Handler{
		"/metrics":          w.metrics.AgentHandler(),
		"/metrics/cadvisor": w.metrics.CadvisorHandler(),
		"/metrics/resource": w.metrics.ResourceHandler(),
		"/metrics/probes":   w.metrics.ProbesHandler(),
	}
}

// TestWhatIsExportedIsWhatTheGoldenFileSays: dashboards and alerts (contrib/dashboards) are checked against this list.
// Run with -update to write it anew.
func TestWhatIsExportedIsWhatTheGoldenFileSays(t *testing.T) {
	_, handlers := everything(t)
	var lines []string
	for path, h := range handlers {
		for name, f := range scrape(t, h) {
			// The runtime's and the process's metrics are those of the libraries, and differ with the kernel's version.
			if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_network_") || dependsOnTheMachine(name) {
				continue
			}
			labels := map[string]bool{}
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = true
				}
			}
			lines = append(lines, fmt.Sprintf("%s %s %s %s", path, name, strings.ToLower(f.GetType().String()), strings.Join(slices.Sorted(maps.Keys(labels)), ",")))
		}
	}
	slices.Sort(lines)
	have := strings.Join(lines, "\n") + "\n"
	const file = "testdata/exported.txt"
	if *update {
		if err := os.WriteFile(file, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), have); diff != "" {
		t.Errorf("exported metrics (-want +have):\n%s", diff)
	}
}

// dependsOnTheMachine names what not every machine has: huge pages, NVM, NUMA, pressure stall information.
func dependsOnTheMachine(name string) bool {
	return strings.HasPrefix(name, "container_pressure_") || name == "machine_node_hugepages_count" || name == "machine_thread_siblings_count" ||
		strings.HasPrefix(name, "machine_node_") || strings.HasPrefix(name, "machine_cpu_cache")
}

// TestEverythingExportedIsLinted: promlint's rules hold for what is ours; the kubelet's and cAdvisor's names are as they
// are, because people's dashboards know them so.
func TestEverythingExportedIsLinted(t *testing.T) {
	_, handlers := everything(t)
	for path, h := range handlers {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		problems, err := promlint.New(strings.NewReader(r.Body.String())).Lint()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, p := range problems {
			if !strings.HasPrefix(p.Metric, "cadvisor_") && !strings.HasPrefix(p.Metric, "container_") && !strings.HasPrefix(p.Metric, "machine_") && !strings.HasPrefix(p.Metric, "kubelet_") {
				t.Errorf("%s: %s: %s", path, p.Metric, p.Text)
			}
		}
	}
}

// TestNoSeriesIsThereTwice: Prometheus drops a scrape that has a series twice.
func TestNoSeriesIsThereTwice(t *testing.T) {
	_, handlers := everything(t)
	for path, h := range handlers {
		for name, f := range scrape(t, h) {
			seen := map[string]bool{}
			for _, m := range f.GetMetric() {
				key := fmt.Sprint(m.GetLabel())
				if seen[key] {
					t.Errorf("%s: %s has %s twice", path, name, key)
				}
				seen[key] = true
			}
		}
	}
}

// TestOurTextIsPromhttps: the text that is written as it comes says what a registry and promhttp say.
func TestOurTextIsPromhttps(t *testing.T) {
	c := constCollector{
		prometheus.MustNewConstMetric(prometheus.NewDesc("plain_total", "With \"quotes\", a \\ and\na line.", nil, nil), prometheus.CounterValue, 3),
		prometheus.MustNewConstMetric(prometheus.NewDesc("big", "Big.", []string{"b", "a"}, nil), prometheus.GaugeValue, 1.7976931348623157e+308, "x\"\\\n", "ü"),
		prometheus.MustNewConstMetric(prometheus.NewDesc("big", "Big.", []string{"b", "a"}, nil), prometheus.GaugeValue, -0.25, "y", ""),
		prometheus.NewMetricWithTimestamp(time.UnixMilli(1700000000123),
			prometheus.MustNewConstMetric(prometheus.NewDesc("at", "At a time.", nil, prometheus.Labels{"c": "1"}), prometheus.UntypedValue, 1e21)),
	}
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	want, have := httptest.NewRecorder(), httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(want, httptest.NewRequest(http.MethodGet, "/", nil))
	h := textHandler(c)
	for range 2 { // the second time with the sizes of the first
		have = httptest.NewRecorder()
		h.ServeHTTP(have, httptest.NewRequest(http.MethodGet, "/", nil))
	}
	if diff := cmp.Diff(sorted(want.Body.String()), sorted(have.Body.String())); diff != "" {
		t.Errorf("(-promhttp +ours):\n%s", diff)
	}
}

func sorted(s string) []string { return slices.Sorted(strings.SplitSeq(s, "\n")) }

type constCollector []prometheus.Metric

func (c constCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c constCollector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c {
		ch <- m
	}
}

// TestTheTextWriterTakesNoHistograms: what it does not know is an error, not a wrong answer.
func TestTheTextWriterTakesNoHistograms(t *testing.T) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h"})
	r := httptest.NewRecorder()
	textHandler(h).ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/", nil))
	if r.Code != http.StatusInternalServerError {
		t.Errorf("answered %d", r.Code)
	}
}
