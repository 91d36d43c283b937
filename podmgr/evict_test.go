package podmgr_test

import (
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func TestAnEvictedPodOfAFileBeginsAnewWithoutItsData(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyAlways, loop)
		p.Document = []byte("{}")
		w.dir.wants(p)
		w.after(5 * time.Second)
		w.rt.Evict(web, "v1", "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ")
		w.after(5 * time.Second)
		var forgotten bool
		for _, c := range w.rt.Calls() {
			forgotten = forgotten || c.Verb == "Forget"
			if c.Verb == "Stop" && c.Grace > 2*time.Second {
				t.Errorf("it had %s to end", c.Grace)
			}
		}
		e, _ := w.m.Board().Get(web)
		if !forgotten || e == nil || e.Status.Phase != v1.PodRunning || e.Status.ContainerStatuses[0].RestartCount != 1 {
			t.Errorf("forgotten: %t, entry %+v", forgotten, e)
		}
		want := `Warning  Evicted×1 Usage of EmptyDir volume "v" exceeds the limit "1Mi". `
		if all := w.events(web); !slices.Contains(all, want) {
			t.Errorf("no event %q in %q", want, all)
		}
	})
}

func TestAnEvictedPodOfAnAPIServerStaysAsItEnded(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(5 * time.Second)
		w.rt.Evict(web, "v1", "too much")
		w.after(time.Minute)
		e, _ := w.m.Board().Get(web)
		if e == nil || e.Status.Phase != v1.PodFailed || e.Status.Reason != "Evicted" || e.Status.Message != "too much" {
			t.Fatalf("entry %+v", e)
		}
		if s := e.Status.ContainerStatuses[0].State; s.Terminated == nil {
			t.Errorf("its container is %+v", s)
		}
		if c := w.rt.Now(web).Evictions[0]; c.UID != "v1" {
			t.Errorf("the eviction is gone: %+v", c)
		}
	})
}
