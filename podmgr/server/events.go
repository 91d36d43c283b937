package server

import (
	"fmt"
	"hash/fnv"
	"net/http"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// eventKey is what makes two events one that happened twice.
type eventKey struct {
	pod                              manifests.Key
	container, kind, reason, message string
}

func keyOf(e podmgr.Event) eventKey {
	return eventKey{e.Pod, e.Container, e.Type, e.Reason, e.Message}
}

// eventOf is an event of the board as a Kubernetes event.
func (s *Server) eventOf(e podmgr.Event) *v1.Event {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%q %q %q %q", e.Container, e.Type, e.Reason, e.Message)
	out := &v1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: e.Pod.Namespace, Name: fmt.Sprintf("%s.%016x", e.Pod.Name, h.Sum64())},
		InvolvedObject: v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: e.Pod.Namespace, Name: e.Pod.Name},
		Reason:         e.Reason, Message: e.Message, Type: e.Type, Count: int32(e.Count),
		FirstTimestamp: metav1.Time{Time: e.First}, LastTimestamp: metav1.Time{Time: e.Last},
		Source: v1.EventSource{Component: "agent", Host: s.NodeName},
	}
	out.CreationTimestamp = out.FirstTimestamp
	if e.Container != "" {
		out.InvolvedObject.FieldPath = "spec.containers{" + e.Container + "}"
	}
	if e.Pod == (manifests.Key{}) {
		out.Namespace = metav1.NamespaceDefault
		out.InvolvedObject = v1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: s.NodeName}
		out.Name = s.NodeName + out.Name
	}
	if entry, ok := s.Board.Get(e.Pod); ok && entry.Pod != nil {
		out.InvolvedObject.UID = entry.Pod.UID()
	}
	return out
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	watching, err := boolParam(r, "watch")
	if err != nil {
		writeError(w, err)
		return
	}
	of := manifests.Key{Namespace: r.FormValue("namespace"), Name: r.FormValue("name")}
	if of.Name != "" && of.Namespace == "" {
		writeError(w, badRequest("name is given without a namespace"))
		return
	}
	list := func() []podmgr.Event {
		if of.Name != "" {
			return s.Board.Events(of)
		}
		var out []podmgr.Event
		for _, e := range s.Board.Events(manifests.Key{}) {
			if of.Namespace == "" || e.Pod.Namespace == of.Namespace {
				out = append(out, e)
			}
		}
		return out
	}
	if watching {
		watchList(w, r, s.Board.Changed, list, keyOf, func(a, b podmgr.Event) bool { return a == b },
			func(e podmgr.Event) any { return s.eventOf(e) })
		return
	}
	out := &v1.EventList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "EventList"}, Items: []v1.Event{}}
	for _, e := range list() {
		out.Items = append(out.Items, *s.eventOf(e))
	}
	writeJSON(w, out)
}
