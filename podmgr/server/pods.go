package server

import (
	"context"
	"maps"
	"net/http"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podOf is an entry of the board as a Kubernetes pod. Nothing of the entry is written to.
func podOf(e *podmgr.Entry) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: e.Key.Namespace, Name: e.Key.Name}}
	if e.Pod != nil {
		*p = *e.Pod.Object
	}
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.Status = e.Status
	p.Annotations = maps.Clone(p.Annotations)
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	if e.Source != "" {
		p.Annotations[SourceAnnotation] = e.Source
	}
	if e.Pod != nil {
		p.Annotations[FileAnnotation] = e.Pod.Origin.String()
	}
	// A file has no creation time; the pod is as old as its sandbox.
	if p.CreationTimestamp.IsZero() && e.Status.StartTime != nil {
		p.CreationTimestamp = *e.Status.StartTime
	}
	if !e.Deleted.IsZero() && p.DeletionTimestamp == nil {
		p.DeletionTimestamp = &metav1.Time{Time: e.Deleted}
		p.DeletionGracePeriodSeconds = p.Spec.TerminationGracePeriodSeconds
	}
	return p
}

func podList() *v1.PodList {
	return &v1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []v1.Pod{}}
}

func (s *Server) pods(w http.ResponseWriter, r *http.Request) {
	s.awaitBoard(r.Context())
	watching, err := boolParam(r, "watch")
	if err != nil {
		writeError(w, err)
		return
	}
	if watching {
		watchList(w, r, s.Board.Changed, s.Board.List, func(e *podmgr.Entry) manifests.Key { return e.Key },
			func(a, b *podmgr.Entry) bool { return a == b }, func(e *podmgr.Entry) any { return podOf(e) })
		return
	}
	list := podList()
	for _, e := range s.Board.List() {
		list.Items = append(list.Items, *podOf(e))
	}
	writeJSON(w, list)
}

// awaitBoard waits a moment for the board of an agent that has just started: an incomplete list looks as if pods were gone.
func (s *Server) awaitBoard(ctx context.Context) {
	if s.Ready == nil {
		return
	}
	const most = 3 * time.Second // since the start; a source may never come to know its set
	t := time.NewTimer(time.Until(s.born.Add(most)))
	defer t.Stop()
	select {
	case <-s.Ready:
	case <-t.C:
	case <-ctx.Done():
	}
}

// runningPods lists the pods of which a container runs, with as much as the kubelet's runtime cache knows of them.
func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	s.awaitBoard(r.Context())
	list := podList()
	for _, e := range s.Board.List() {
		p := v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: e.Key.Namespace, Name: e.Key.Name}}
		if e.Pod != nil {
			p.UID = e.Pod.UID()
		}
		for _, c := range e.Status.ContainerStatuses {
			if c.State.Running != nil {
				p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: c.Name, Image: c.Image})
			}
		}
		if len(p.Spec.Containers) > 0 {
			list.Items = append(list.Items, p)
		}
	}
	writeJSON(w, list)
}
