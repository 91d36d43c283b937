package pods

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func running(ip string) v1.PodStatus {
	return v1.PodStatus{
		Phase: v1.PodRunning, PodIP: ip, PodIPs: []v1.PodIP{{IP: ip}}, QOSClass: v1.PodQOSBestEffort,
		StartTime:         &metav1.Time{Time: time.Unix(1700000100, 5)},
		Conditions:        []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: metav1.Unix(1700000200, 0)}},
		ContainerStatuses: []v1.ContainerStatus{{Name: "a", ContainerID: "containerd://1", State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}},
	}
}

func TestAStatusIsReportedOnceAndBesideWhatOthersSay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("web", func(p *v1.Pod) {
		p.Status.Conditions = []v1.PodCondition{{Type: "example.com/gate", Status: v1.ConditionTrue}}
	}))
	w.start()
	web := w.next()["web"]
	w.post(web, running("10.1.1.1"), false)
	w.until("the report", func() bool { return w.server.pod("default", "web").Status.Phase == v1.PodRunning })
	s := w.server.pod("default", "web").Status
	if len(s.Conditions) != 2 || s.ObservedGeneration != 1 || !s.StartTime.Equal(&metav1.Time{Time: time.Unix(1700000100, 0)}) {
		t.Errorf("the status is %+v", s)
	}
	w.post(web, running("10.1.1.1"), false) // another board, the same status
	w.quiet(200 * time.Millisecond)
	if n := len(w.server.called("PATCH pods/")); n != 1 {
		t.Errorf("it was reported %d times", n)
	}
	// Someone else writes what is the node's to say.
	w.server.put("pods", apiPod("web", func(p *v1.Pod) { p.Status.Phase = v1.PodPending }))
	w.next() // the gate is gone, which the node has to know
	w.until("the repair", func() bool { return w.server.pod("default", "web").Status.Phase == v1.PodRunning })
}

func TestWhileTheServerIsAwayOnlyTheNewestStatusWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("web"))
	w.start()
	web := w.next()["web"]
	w.server.setDown(true)
	for i := range 30 {
		w.post(web, running(fmt.Sprintf("10.1.1.%d", i)), false)
		time.Sleep(10 * time.Millisecond)
	}
	tried := len(w.server.called("PATCH pods/"))
	if tried > 10 {
		t.Errorf("it was tried %d times", tried)
	}
	w.server.setDown(false)
	w.until("the report", func() bool { return w.server.pod("default", "web").Status.PodIP == "10.1.1.29" })
	s := w.server.pod("default", "web")
	if len(s.Status.PodIPs) != 1 {
		t.Errorf("the addresses are %v", s.Status.PodIPs)
	}
}

func TestAPodOfWhichNothingIsLeftIsRemovedFromTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("web"))
	w.start()
	w.post(w.next()["web"], running("10.1.1.1"), false)
	w.until("the report", func() bool { return w.server.pod("default", "web").Status.Phase == v1.PodRunning })
	deleted := w.server.pod("default", "web")
	deleted.DeletionTimestamp, deleted.DeletionGracePeriodSeconds = &metav1.Time{Time: time.Now()}, new(int64(30))
	w.server.put("pods", deleted)
	web := w.next()["web"]
	if web == nil || web.Object.DeletionTimestamp == nil {
		t.Fatal("a pod that is being deleted left the snapshot")
	}
	w.quiet(200 * time.Millisecond)
	if n := len(w.server.called("DELETE pods/")); n != 0 {
		t.Fatal("it was removed while it runs")
	}
	ended := running("10.1.1.1")
	ended.Phase = v1.PodSucceeded
	ended.ContainerStatuses[0].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{}}
	w.post(web, ended, true)
	if pods := w.next(); len(pods) == 1 && pods["web"].Object.Status.Phase == v1.PodSucceeded { // its own report
		pods = w.next()
		if len(pods) != 0 {
			t.Errorf("the snapshot has %v", pods)
		}
	}
	calls := append(w.server.called("PATCH pods/"), w.server.called("DELETE pods/")...)
	if len(calls) != 3 {
		t.Errorf("the calls were %v", calls)
	}
}

// fileEntry is a pod of a file on the board.
func (w *world) fileEntry(uid string, deleted bool) Entry {
	p := apiPod("cam", func(p *v1.Pod) {
		naming(p)
		p.UID = types.UID(uid)
		p.Annotations = map[string]string{annotationHash: uid, "kubernetes.io/config.source": "file"}
	})
	return Entry{Key: manifests.Key{Namespace: "default", Name: "cam"}, Pod: &manifests.Pod{Object: p, Document: []byte("{}")}, Source: "dir:/x", Status: new(running("10.1.1.7")), Deleted: deleted}
}

func TestAPodOfAFileHasAMirrorWithItsStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("old-node1", func(p *v1.Pod) { p.Annotations = map[string]string{annotationMirror: "x"} }))
	w.start()
	if pods := w.next(); len(pods) != 0 {
		t.Errorf("a mirror pod is wanted: %v", pods)
	}
	w.until("the end of the left-over mirror", func() bool { return w.server.pod("default", "old-node1") == nil })
	w.board(func() { w.entries = []Entry{w.fileEntry("one", false)} })
	mirror := func() *v1.Pod { return w.server.pod("default", "cam-node1") }
	w.until("the status of the mirror", func() bool { return mirror() != nil && mirror().Status.PodIP == "10.1.1.7" })
	m := mirror()
	o := m.OwnerReferences
	if m.Annotations[annotationMirror] != "one" || len(o) != 1 || o[0].Kind != "Node" || o[0].UID != "uid-node1" || !*o[0].Controller {
		t.Errorf("the mirror is %+v", m.ObjectMeta)
	}
	if s := m.Spec; s.ServiceAccountName != "" || s.NodeName != "node1" || s.Volumes[0].Secret != nil || s.Volumes[1].Projected != nil || len(s.Containers[0].EnvFrom) != 0 {
		t.Errorf("the mirror names objects: %+v", s)
	}
	for _, kind := range []string{"secrets", "configmaps", "serviceaccounts"} {
		if calls := append(w.server.called("GET "+kind), w.server.called("POST "+kind)...); len(calls) != 0 {
			t.Errorf("a pod of a file led to %v", calls)
		}
	}
	w.server.remove("pods", "default", "cam-node1")
	w.until("another mirror", func() bool { return mirror() != nil && mirror().UID != m.UID })
	w.board(func() { w.entries = []Entry{w.fileEntry("two", false)} })
	w.until("the mirror of the changed file", func() bool { return mirror() != nil && mirror().Annotations[annotationMirror] == "two" })
	w.board(func() { w.entries = []Entry{w.fileEntry("two", true)} })
	time.Sleep(100 * time.Millisecond)
	if mirror() == nil {
		t.Error("the mirror went before its containers")
	}
	w.board(func() { w.entries = nil })
	w.until("the end of the mirror", func() bool { return mirror() == nil })
	w.quiet(50 * time.Millisecond)
}

func TestAPodWhoseNameAFileHasSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("cam"))
	w.start()
	w.next()
	w.board(func() { w.entries = []Entry{w.fileEntry("one", false)} })
	w.until("the reason", func() bool { return w.server.pod("default", "cam").Status.Reason == "NameClash" })
	if s := w.server.pod("default", "cam").Status; s.Phase != v1.PodPending || !strings.Contains(s.Message, "precedence") {
		t.Errorf("the status is %+v", s)
	}
	w.board(func() { w.entries = []Entry{w.fileEntry("one", false)} })
	w.quiet(100 * time.Millisecond)
	if n := len(w.server.called("PATCH pods/default/cam/")); n != 1 {
		t.Errorf("it was reported %d times", n)
	}
	deleted := w.server.pod("default", "cam")
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	w.server.put("pods", deleted)
	w.next()
	w.until("its end", func() bool { return w.server.pod("default", "cam") == nil })
}

func TestAnEventIsCountedNotRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("web"))
	w.start()
	w.post(w.next()["web"], running("10.1.1.1"), false)
	e := Event{Pod: manifests.Key{Namespace: "default", Name: "web"}, Container: "a", Type: v1.EventTypeWarning, Reason: "BackOff", Message: "Back-off", Count: 1, First: time.Now(), Last: time.Now()}
	w.board(func() { w.events = []Event{e} })
	w.until("the event", func() bool { return len(w.server.events()) == 1 })
	e.Count, e.Last = 7, time.Now()
	w.board(func() { w.events = []Event{e} })
	w.until("the count", func() bool { return w.server.events()[0].Count == 7 })
	got := w.server.events()[0]
	if got.InvolvedObject.FieldPath != "spec.containers{a}" || got.InvolvedObject.UID != "uid-web" || got.ReportingController != "kubelet" || got.ReportingInstance != "node1" || len(w.server.events()) != 1 {
		t.Errorf("the event is %+v", got)
	}
	// One pod cannot fill the API server.
	w.board(func() {
		for i := range 100 {
			x := e
			x.Message = fmt.Sprint("other ", i)
			w.events = append(w.events, x)
		}
	})
	w.until("the bound", func() bool { return len(w.server.events()) >= podEventBurst-2 })
	time.Sleep(100 * time.Millisecond)
	if n := len(w.server.events()); n > podEventBurst {
		t.Errorf("there are %d events", n)
	}
}

func TestAnEvictedPodFailsOnceItsContainersHaveEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("web"))
	w.start()
	web := w.next()["web"]
	w.post(web, running("10.1.1.1"), false)
	w.until("the report", func() bool { return w.server.pod("default", "web").Status.Phase == v1.PodRunning })
	w.pods.Evict(web.UID(), "Evicted", "The node was low on resource: memory. ")
	next := w.next()["web"]
	if next == nil || next.Object.DeletionTimestamp == nil || *next.Object.DeletionGracePeriodSeconds != evictionGrace {
		t.Fatalf("the pod manager is told %+v", next)
	}
	if web.Object.DeletionTimestamp != nil {
		t.Error("the pod that was sent before was written to")
	}
	w.quiet(100 * time.Millisecond)
	if p := w.server.pod("default", "web").Status.Phase; p != v1.PodRunning {
		t.Errorf("it is %s while it runs", p)
	}
	ended := running("10.1.1.1")
	ended.Phase = v1.PodSucceeded
	ended.ContainerStatuses[0].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{}}
	ended.Phase = v1.PodFailed // as by SIGKILL; it is told before the sandbox is gone
	w.post(next, ended, false)
	w.until("the failure", func() bool { return w.server.pod("default", "web").Status.Phase == v1.PodFailed })
	s := w.server.pod("default", "web").Status
	if s.Reason != "Evicted" || s.Message != "The node was low on resource: memory. " {
		t.Errorf("it failed for %q: %q", s.Reason, s.Message)
	}
	if !slices.ContainsFunc(s.Conditions, func(c v1.PodCondition) bool {
		return c.Type == v1.DisruptionTarget && c.Status == v1.ConditionTrue && c.Reason == v1.PodReasonTerminationByKubelet
	}) {
		t.Errorf("the conditions are %v", s.Conditions)
	}
	if n := len(w.server.called("DELETE pods/")); n != 0 {
		t.Error("the node removed it; that is the API server's to do")
	}
}
