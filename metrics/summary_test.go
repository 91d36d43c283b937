package metrics

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// TestTheShortSummaryHasCPUAndMemoryOnly, over HTTP and as the kubelet's types read it.
func TestTheShortSummaryHasCPUAndMemoryOnly(t *testing.T) {
	w := newWorld(t)
	w.metrics.housekeeper.look(time.Now())
	get := func(query string) (statsapi.Summary, int) {
		r := httptest.NewRecorder()
		w.metrics.SummaryHandler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/stats/summary"+query, nil))
		var s statsapi.Summary
		if r.Code == http.StatusOK {
			if err := json.Unmarshal(r.Body.Bytes(), &s); err != nil {
				t.Fatal(err)
			}
		}
		return s, r.Code
	}
	s, _ := get("?only_cpu_and_memory=true")
	p := s.Pods[0]
	if s.Node.CPU == nil || s.Node.Memory == nil || p.CPU == nil || p.Memory == nil || p.Containers[0].CPU == nil || p.Containers[0].Memory == nil {
		t.Errorf("CPU or memory is missing: %+v", s)
	}
	if s.Node.Fs != nil || s.Node.Network != nil || p.Network != nil || p.VolumeStats != nil || p.EphemeralStorage != nil || p.Containers[0].Rootfs != nil {
		t.Errorf("more than CPU and memory: %+v", s)
	}
	if want := (statsapi.PodReference{Name: "web", Namespace: "shop", UID: w.uid}); p.PodRef != want {
		t.Errorf("the pod is %+v, want %+v", p.PodRef, want)
	}
	if full, _ := get(""); full.Node.Fs == nil || full.Pods[0].Network == nil {
		t.Errorf("the full summary lacks filesystem or network: %+v", full)
	}
	if _, code := get("?only_cpu_and_memory=maybe"); code != http.StatusBadRequest {
		t.Errorf("a query that makes no sense is answered %d", code)
	}
}

// TestAPodThatHasNotStartedIsLeftOut, as by the kubelet, and one of the host's network has none of its own.
func TestAPodThatHasNotStartedIsLeftOut(t *testing.T) {
	w := newWorld(t)
	early := testPod("early", "")
	early.Status.StartTime = nil
	w.pods[0].Object.Spec.HostNetwork = true
	w.pods = append(w.pods, early, Pod{Key: early.Key})
	w.metrics.housekeeper.look(time.Now())
	s, err := w.metrics.Summary(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Pods) != 1 || s.Pods[0].PodRef.UID != w.uid {
		t.Fatalf("pods are %+v", s.Pods)
	}
	if s.Pods[0].Network != nil {
		t.Errorf("the node's network is shown as the pod's: %+v", s.Pods[0].Network)
	}
}

// TestNothingSampledYetIsSaid rather than answered with zeros: metrics-server must know.
func TestNothingSampledYetIsSaid(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRecorder()
	w.metrics.SummaryHandler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/stats/summary", nil))
	if r.Code != http.StatusServiceUnavailable {
		t.Errorf("the summary is answered %d", r.Code)
	}
	res := scrape(t, w.metrics.ResourceHandler())
	names := []string{}
	for name := range res {
		names = append(names, name)
	}
	if diff := cmp.Diff([]string{"resource_scrape_error"}, names); diff != "" {
		t.Errorf("/metrics/resource (-want +have):\n%s", diff)
	}
	if res.value(t, "resource_scrape_error", nil) != 1 {
		t.Error("the error is not shown")
	}
}

// TestRunEndsWithItsContext, with everything it started.
func TestRunEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.metrics.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); w.metrics.housekeeper.latest.Load() == nil; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was sampled")
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not end")
	}
}
