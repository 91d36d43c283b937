package metrics

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/cadvisor/lib/container"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is one pod with a sandbox and a container in real cgroups, and the collectors that look at it.
type world struct {
	config             Config
	pods               []Pod
	uid                string
	id, sandboxID      string
	root               string // its cgroup
	pod, cgroup        string // cgroups of the pod and its container
	container, sandbox *process
	file               string // what the container writes
	metrics            *Metrics
}

func hexID(n int) string { return fmt.Sprintf("%064x", n) }

func newWorld(t *testing.T) *world {
	t.Helper()
	e := theEngine(t)
	w := &world{
		uid: "0f1e2d3c-0000-8000-8000-000000000001", id: hexID(os.Getpid()*10 + 1), sandboxID: hexID(os.Getpid()*10 + 2),
		root: fmt.Sprintf("/metricstest%d", os.Getpid()),
	}
	w.pod = w.root + "/kubepods/burstable/pod" + w.uid
	w.cgroup = w.pod + "/" + w.id
	makeCgroups(t, w.root, w.root+"/kubepods", w.root+"/kubepods/burstable", w.pod, w.cgroup, w.pod+"/"+w.sandboxID)

	dir := diskDir(t)
	w.file = filepath.Join(dir, "written")
	countWrites(t, w.cgroup, dir)
	w.sandbox = spawn(t, "sandbox", w.pod+"/"+w.sandboxID, "")
	w.container = spawn(t, "container", w.cgroup, w.file)
	labels := func(kind, name string) map[string]string {
		l := map[string]string{labelPodName: "web", labelPodNamespace: "shop", "io.cri-containerd.kind": kind}
		if name != "" {
			l[labelContainerName] = name
		}
		return l
	}
	e.put(t, w.id, engineContainer{labels: labels("container", "main"), image: "edgepod.dev/web:1", pid: w.container.pid()})
	e.put(t, w.sandboxID, engineContainer{labels: labels("sandbox", ""), pid: w.sandbox.pid()})

	w.pods = []Pod{testPod(w.uid, w.id)}
	w.config = Config{
		NodeName: "node-1", Version: "v1.2.3", Housekeeping: time.Second, Socket: e.socket, Namespace: "agent", CgroupRoot: w.root,
		Root: dir, ImageRoot: dir, PodLogs: filepath.Join(dir, "logs"), Pods: func() []Pod { return w.pods },
		Images:    func(context.Context) (Images, error) { return Images{Count: 3, Pinned: 2, Bytes: 4096}, nil },
		Problems:  func() []manifests.Problem { return nil },
		VolumeDir: func(_ *v1.Pod, v *v1.Volume) string { return filepath.Join(dir, "volumes", v.Name) },
		Log:       zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	}
	var err error
	if w.metrics, err = New(w.config, NewRecorder()); err != nil {
		t.Fatal(err)
	}
	return w
}

// diskDir is a directory on a disk: a tmpfs takes no O_DIRECT.
func diskDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "metrics-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func testPod(uid, id string) Pod {
	started := metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	return Pod{
		Key: manifests.Key{Namespace: "shop", Name: "web"},
		Object: &v1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: types.UID(uid), Labels: map[string]string{"app": "web", "app.kubernetes.io/part-of": "shop"}},
			Spec: v1.PodSpec{
				Containers: []v1.Container{{Name: "main"}},
				Volumes: []v1.Volume{
					{Name: "data", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
					{Name: "kept", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
				},
			},
		},
		Status: &v1.PodStatus{
			Phase: v1.PodRunning, StartTime: &started,
			Conditions: []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}},
			ContainerStatuses: []v1.ContainerStatus{{
				Name: "main", ContainerID: "containerd://" + id, RestartCount: 1,
				State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: started}},
				LastTerminationState: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
					ContainerID: "containerd://" + hexID(7), Reason: "OOMKilled", ExitCode: 137, FinishedAt: started, StartedAt: started,
				}},
			}},
		},
	}
}

// mountLayer gives the container a root as containerd does, with so many bytes in its writable layer.
func (w *world) mountLayer(t *testing.T, bytes int) {
	t.Helper()
	base := diskDir(t)
	rootfs := filepath.Join(filepath.Dir(w.config.Socket), "io.containerd.runtime.v2.task", "agent", w.id, "rootfs")
	for _, d := range []string{base + "/lower", base + "/upper", base + "/work", rootfs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeBytes(t, base+"/lower/image", 1<<20) // of the image: no part of the layer
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base)
	if err := unix.Mount("overlay", rootfs, "overlay", 0, options); err != nil {
		t.Fatalf("mounting an overlay: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(rootfs, 0) })
	writeBytes(t, rootfs+"/written", bytes)
}

func writeBytes(t testing.TB, file string, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, make([]byte, n), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil { // or its blocks are not counted yet
		t.Fatal(err)
	}
}

// scraped is an exposition by name.
type scraped map[string]*dto.MetricFamily

// scrape asks a handler and parses the answer as Prometheus would.
func scrape(t testing.TB, h http.Handler) scraped {
	t.Helper()
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/", nil))
	if r.Code != http.StatusOK {
		t.Fatalf("scraping: %d %s", r.Code, r.Body)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(r.Body.String()))
	if err != nil {
		t.Fatalf("parsing the exposition: %v", err)
	}
	return families
}

// value finds the one series of name whose labels are as given, among others.
func (s scraped) value(t testing.TB, name string, labels map[string]string) float64 {
	t.Helper()
	var found []*dto.Metric
	for _, m := range s[name].GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		match := true
		for k, v := range labels {
			match = match && have[k] == v
		}
		if match {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s%v: %d series, want 1", name, labels, len(found))
	}
	switch m := found[0]; {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	default:
		return m.Untyped.GetValue()
	}
}

func (s scraped) has(name string, labels map[string]string) bool {
	for _, m := range s[name].GetMetric() {
		match := true
		for _, l := range m.GetLabel() {
			if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
				match = false
			}
		}
		if match {
			return true
		}
	}
	return false
}

var _ handler = container.ContainerHandler(nil)
