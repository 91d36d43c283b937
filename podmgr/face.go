package podmgr

import (
	"reflect"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// face is what a worker shows of its pod on the board. Owner: the worker.
type face struct {
	pod     *manifests.Pod // the last one wanted
	source  string
	deleted time.Time
	entry   *Entry // as posted last
}

// post shows the pod's status when it differs from what is shown.
func (f *face) post(w *worker, now time.Time) {
	if w.want.pod != nil {
		f.pod, f.source = w.want.pod, w.want.source
	}
	going := w.want.uid() == ""
	switch {
	case !going:
		f.deleted = time.Time{}
	case f.deleted.IsZero():
		f.deleted = wall(now)
	}
	gone := going && w.have.empty() && len(w.flight) == 0
	if gone && !w.want.deleting() {
		w.board.Drop(w.key)
		f.entry = nil
		return
	}
	e := &Entry{Pod: f.pod, Key: w.key, Deleted: f.deleted, Source: f.source, Gone: gone}
	e.Status = status(f.facts(w, going, now))
	if f.entry != nil && f.entry.Pod == e.Pod && f.entry.Source == e.Source && f.entry.Deleted.Equal(e.Deleted) &&
		f.entry.Gone == e.Gone && reflect.DeepEqual(f.entry.Status, e.Status) {
		return
	}
	f.noteBackOff(w, e)
	if f.entry != nil && e.Status.Reason == reasonDeadline && f.entry.Status.Reason != reasonDeadline {
		w.record("", normal, reasonDeadline, messageDeadline)
	}
	if e.Status.Reason == reasonEvicted && (f.entry == nil || f.entry.Status.Reason != reasonEvicted) {
		w.record("", warning, reasonEvicted, "%s", e.Status.Message)
	}
	f.entry = e
	w.board.Post(e)
}

func (f *face) facts(w *worker, going bool, now time.Time) facts {
	s := facts{have: &w.have, mem: &w.mem, now: now, going: going}
	switch uid := firstUID(&w.have); {
	case f.pod != nil:
		s.pod = f.pod.Object
	case w.mem.recalled[uid].pod != nil:
		s.pod = w.mem.recalled[uid].pod
	default:
		s.pod = stranger(w.key, &w.have)
	}
	switch {
	case f.entry != nil && (f.entry.Pod == nil || f.entry.Pod.UID() == s.pod.UID):
		s.prev = &f.entry.Status
	case s.pod.Status.Phase != "":
		s.prev = &s.pod.Status // what the API server was told last
	}
	s.deleting = w.want.deleting()
	s.ended = s.deleting && !w.have.lives(s.pod.UID) && !w.flight.creates()
	if w.node.hostIP != nil {
		s.hostIP = w.node.hostIP()
	}
	return s
}

// noteBackOff records the kubelet's events for a container that begins to wait for its next start or pull.
func (f *face) noteBackOff(w *worker, e *Entry) {
	if e.Pod == nil {
		return
	}
	for i := range size(e.Pod.Object) {
		c := nthStatus(&e.Status, i)
		if c.State.Waiting == nil || f.shows(c.Name, c.State.Waiting.Reason, c.RestartCount) {
			continue
		}
		switch c.State.Waiting.Reason {
		case reasonCrashLoop:
			w.record(c.Name, warning, "BackOff", "Back-off restarting failed container %s in pod %s", c.Name, longName(e.Pod.Object))
		case reasonPullBackOff:
			w.record(c.Name, normal, "BackOff", "Back-off pulling image %q", c.Image)
			w.record(c.Name, warning, "Failed", "Error: %s", reasonPullBackOff)
		}
	}
}

// shows says whether the posted entry already has a container waiting for this reason at this restart count.
func (f *face) shows(name, reason string, restarts int32) bool {
	if f.entry == nil {
		return false
	}
	s := &f.entry.Status
	for i := range len(s.InitContainerStatuses) + len(s.ContainerStatuses) {
		c := nthStatus(s, i)
		if c.Name == name && c.RestartCount == restarts {
			return c.State.Waiting != nil && c.State.Waiting.Reason == reason
		}
	}
	return false
}

// nthStatus is the i-th container status, those of init containers first.
func nthStatus(s *v1.PodStatus, i int) *v1.ContainerStatus {
	if n := len(s.InitContainerStatuses); i >= n {
		return &s.ContainerStatuses[i-n]
	}
	return &s.InitContainerStatuses[i]
}

// stranger makes up the pod of a key that the agent never had a manifest of, from what is left of it.
func stranger(k manifests.Key, have *Observed) *v1.Pod {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, UID: firstUID(have)}}
	pod.Spec.RestartPolicy = v1.RestartPolicyAlways
	for i := range have.Containers {
		c := &have.Containers[i]
		if c.UID == pod.UID && index(pod, c.Name) < 0 {
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: c.Name, Image: c.Image})
		}
	}
	return pod
}

func firstUID(have *Observed) types.UID {
	switch {
	case len(have.Containers) > 0:
		return have.Containers[0].UID
	case len(have.Sandboxes) > 0:
		return have.Sandboxes[0].UID
	case len(have.Remains) > 0:
		return have.Remains[0]
	default:
		return ""
	}
}
