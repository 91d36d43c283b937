package pods

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"edgepod.dev/agent/manifests"
	"golang.org/x/time/rate"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Limits of events, as the kubelet's: of the node (eventRecordQPS, eventBurst), and of one pod (client-go's spam filter).
const (
	eventRate     = 50
	eventBurst    = 100
	podEventEvery = 5 * time.Minute
	podEventBurst = 25

	// component is what tools know the source of a node's pod events by.
	component = "kubelet"
)

// eventID is what makes two events one that is counted.
type eventID struct {
	pod                              manifests.Key
	container, kind, reason, message string
}

// sentEvent is what the API server has of an event.
type sentEvent struct {
	name  string // empty: nothing, and nothing will be
	count int
}

// eventSink brings the events of the board to the API server. What waits is bounded by the board. Owner: its own goroutine.
type eventSink struct {
	*Pods
	begun time.Time
	sent  map[eventID]sentEvent
	pods  map[manifests.Key]*eventPod
	node  *rate.Limiter
	names int64
}

// eventPod is the pod that events are about; it outlives the pod's entry.
type eventPod struct {
	object *v1.Pod
	limit  *rate.Limiter
}

func newEventSink(p *Pods) *eventSink {
	return &eventSink{
		Pods: p, begun: time.Now(), sent: map[eventID]sentEvent{}, pods: map[manifests.Key]*eventPod{},
		node: rate.NewLimiter(eventRate, eventBurst),
	}
}

func (s *eventSink) run(ctx context.Context) {
	for failures := 0; ; {
		changed := s.cfg.Changed()
		err := s.flush(ctx)
		if err == nil {
			failures = 0
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			continue
		}
		failures++
		if !sleep(ctx, jittered(backOff(failures+2))) {
			return
		}
	}
}

// flush sends what is new; an error means that the API server is away, and that the rest waits.
func (s *eventSink) flush(ctx context.Context) error {
	s.know()
	events := s.cfg.Events()
	current := make(map[eventID]bool, len(events))
	for i := range events {
		e := &events[i]
		id := eventID{e.Pod, e.Container, e.Type, e.Reason, e.Message}
		current[id] = true
		was, known := s.sent[id]
		switch {
		case known && (was.name == "" || was.count >= e.Count):
			continue
		case e.Pod == (manifests.Key{}), !known && e.Last.Before(s.begun): // the node's own; told by an agent before this one
			s.sent[id] = sentEvent{}
			continue
		}
		p := s.pods[e.Pod]
		if p == nil || !p.limit.Allow() {
			s.sent[id] = sentEvent{name: was.name, count: e.Count}
			continue
		}
		if err := s.node.Wait(ctx); err != nil {
			return err
		}
		name, err := s.send(ctx, p.object, e, was.name)
		if err != nil {
			return err
		}
		s.sent[id] = sentEvent{name: name, count: e.Count}
	}
	maps.DeleteFunc(s.sent, func(id eventID, _ sentEvent) bool { return !current[id] })
	s.forget(events)
	return nil
}

// know takes in which pods the keys of events stand for.
func (s *eventSink) know() {
	put := func(k manifests.Key, o *v1.Pod) {
		if p := s.pods[k]; p != nil {
			p.object = o
			return
		}
		s.pods[k] = &eventPod{object: o, limit: rate.NewLimiter(rate.Every(podEventEvery), podEventBurst)}
	}
	all, _, _ := s.set.all()
	for _, p := range all {
		if !isMirror(p) {
			put(keyOf(p), p)
		}
	}
	for _, e := range s.cfg.Entries() {
		switch {
		case e.Pod == nil:
		case e.Source == s.Name():
			put(e.Key, e.Pod.Object)
		default: // the mirror's name, and the UID that the mirror carries as its hash
			o := *e.Pod.Object
			o.Name, o.ResourceVersion = MirrorName(o.Name, s.cfg.NodeName), ""
			put(e.Key, &o)
		}
	}
}

// forget drops pods that no event is about any more.
func (s *eventSink) forget(events []Event) {
	named := make(map[manifests.Key]bool, len(events))
	for i := range events {
		named[events[i].Pod] = true
	}
	maps.DeleteFunc(s.pods, func(k manifests.Key, _ *eventPod) bool { return !named[k] })
}

// send creates an event, or counts one that is there, and returns its name; an empty one when the API server refuses it.
func (s *eventSink) send(ctx context.Context, pod *v1.Pod, e *Event, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	events := s.cfg.Client.CoreV1().Events(pod.Namespace)
	if name != "" {
		patch, err := json.Marshal(map[string]any{"count": e.Count, "lastTimestamp": metav1.NewTime(e.Last)})
		if err != nil {
			return "", fmt.Errorf("counting an event: %w", err)
		}
		_, err = events.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		if !apierrors.IsNotFound(err) { // else it has expired
			return name, away(err)
		}
	}
	s.names++
	event := eventOf(pod, e, s.cfg.NodeName)
	event.Name = fmt.Sprintf("%s.%x", pod.Name, e.First.UnixNano()+s.names)
	if _, err := events.Create(ctx, event, metav1.CreateOptions{}); err != nil {
		if err := away(err); err != nil {
			return "", err
		}
		s.cfg.Log.Debug().Err(err).Str("reason", e.Reason).Msg("the API server refuses an event")
		return "", nil
	}
	return event.Name, nil
}

// away passes on the errors after which a later try may succeed.
func away(err error) error {
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) && status.Status().Code >= 400 && status.Status().Code < 500 && !apierrors.IsTooManyRequests(err) && !apierrors.IsUnauthorized(err) {
		return nil
	}
	return err
}

// eventOf is the event as the kubelet writes it (core/v1).
func eventOf(pod *v1.Pod, e *Event, node string) *v1.Event {
	return &v1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace},
		InvolvedObject: v1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath(pod, e.Container),
		},
		Type: e.Type, Reason: e.Reason, Message: e.Message, Count: int32(min(e.Count, 1<<30)),
		FirstTimestamp: metav1.NewTime(e.First), LastTimestamp: metav1.NewTime(e.Last),
		Source:              v1.EventSource{Component: component, Host: node},
		ReportingController: component, ReportingInstance: node,
	}
}

// fieldPath says which container an event is about.
func fieldPath(pod *v1.Pod, container string) string {
	if container == "" {
		return ""
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container {
			return "spec.initContainers{" + container + "}"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == container {
			return "spec.ephemeralContainers{" + container + "}"
		}
	}
	return "spec.containers{" + container + "}"
}
