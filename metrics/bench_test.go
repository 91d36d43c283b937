package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// manyPods is 30 pods of a sandbox and a container each, in real cgroups, all idle.
func manyPods(b *testing.B) *Metrics {
	b.Helper()
	e := theEngine(b)
	root := fmt.Sprintf("/metricsbench%d", os.Getpid())
	makeCgroups(b, root, root+"/kubepods", root+"/kubepods/burstable")
	var pods []Pod
	for i := range 30 {
		uid := fmt.Sprintf("0f1e2d3c-0000-8000-8000-%012d", i)
		pod := root + "/kubepods/burstable/pod" + uid
		id, sandboxID := hexID(1000+2*i), hexID(1001+2*i)
		makeCgroups(b, pod, pod+"/"+id, pod+"/"+sandboxID)
		labels := map[string]string{labelPodName: fmt.Sprint("web-", i), labelPodNamespace: "shop"}
		main, sandbox := map[string]string{labelContainerName: "main"}, map[string]string{"io.cri-containerd.kind": "sandbox"}
		for k, v := range labels {
			main[k], sandbox[k] = v, v
		}
		e.put(b, id, engineContainer{labels: main, image: "edgepod.dev/web:1", pid: spawn(b, "idle", pod+"/"+id, "").pid()})
		e.put(b, sandboxID, engineContainer{labels: sandbox, pid: spawn(b, "idle", pod+"/"+sandboxID, "").pid()})
		p := testPod(uid, id)
		p.Key.Name = fmt.Sprint("web-", i)
		pods = append(pods, p)
	}
	m, err := New(Config{
		NodeName: "node-1", Housekeeping: 10 * time.Second, Socket: e.socket, Namespace: "agent", CgroupRoot: root,
		Root: "/", ImageRoot: "/", PodLogs: "/nonexistent", Pods: func() []Pod { return pods }, Log: zerolog.Nop(),
	}, NewRecorder())
	if err != nil {
		b.Fatal(err)
	}
	time.Sleep(time.Second) // until they are idle
	return m
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHousekeeping is a minute of housekeeping every 10 s over 30 idle pods per iteration; core% is what it takes of
// one core.
func BenchmarkHousekeeping(b *testing.B) {
	m := manyPods(b)
	now := time.Now()
	m.housekeeper.look(now)
	begun, minutes := cpuTime(b), 0
	for b.Loop() {
		for range 6 {
			now = now.Add(10 * time.Second)
			m.housekeeper.look(now)
		}
		minutes++
	}
	b.ReportMetric(100*(cpuTime(b)-begun).Seconds()/(60*float64(minutes)), "core%")
}

// BenchmarkScrape is one scrape of /metrics/cadvisor with 30 pods.
func BenchmarkScrape(b *testing.B) {
	m := manyPods(b)
	m.housekeeper.look(time.Now())
	h := m.CadvisorHandler()
	var size int
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics/cadvisor", nil))
		size = r.Body.Len()
	}
	b.ReportMetric(float64(size), "bytes")
}
