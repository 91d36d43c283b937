//go:build !nokube

package kube

import (
	"context"
	"fmt"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// How often the node is looked at for pressure, and how long an evicted pod may take to go before the next one.
const (
	evictionEvery = 10 * time.Second
	evictionWait  = 30 * time.Second
)

// evictor watches the node's resources and takes pods away when they run out: as the kubelet's eviction manager, hard
// thresholds only. It belongs to one goroutine.
type evictor struct {
	node *Node
	// met is when each condition's threshold was last met.
	met map[v1.NodeConditionType]time.Time
	// going is the pod that was evicted last, until it is gone or since has become too long ago.
	going types.UID
	since time.Time
	told  bool // that nothing can be measured
}

// runEviction works until ctx ends.
func (n *Node) runEviction(ctx context.Context) {
	e := &evictor{node: n, met: map[v1.NodeConditionType]time.Time{}}
	for pause(ctx, evictionEvery) {
		e.step(ctx, time.Now())
	}
}

// step looks once, and evicts at most one pod.
func (e *evictor) step(ctx context.Context, now time.Time) {
	n := e.node
	summary, err := n.host.Summary(ctx)
	if err != nil || summary == nil {
		if !e.told {
			e.told = true
			n.log.Warn().Err(err).Msg("the node's resources are not measured, so that no pod can be evicted")
		}
		return
	}
	e.told = false
	memory := int64(0)
	if node := n.Object(); node != nil {
		memory = node.Status.Capacity.Memory().Value()
	}
	seen := observe(summary, memory)
	short := shortages(n.cfg.Eviction.Hard, seen)
	e.press(short, now)
	candidates := e.candidates(summary)
	for _, c := range candidates {
		if message := c.overLimit(); message != "" {
			e.evict(c, message)
			return
		}
	}
	if len(short) == 0 || e.waits(now) || summary.Node.Memory != nil && summary.Node.Memory.Time.Time.Before(e.since) {
		return
	}
	worst := short[0]
	n.events.record(v1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim "+string(worst.resource()))
	rank(candidates, worst)
	for _, c := range candidates {
		if !c.critical() {
			e.evict(c, worst.message(seen[worst.Signal])+c.consumption(worst.resource()))
			return
		}
	}
	n.log.Warn().Str("signal", worst.Signal).Msg("the node is under pressure, and no pod may be evicted")
}

// press brings the conditions up to date: one stays for the transition period after its threshold was last met.
func (e *evictor) press(short []Threshold, now time.Time) {
	for _, t := range short {
		e.met[t.condition()] = now
	}
	is := func(c v1.NodeConditionType) bool {
		last, ever := e.met[c]
		return ever && (last.Equal(now) || now.Sub(last) < e.node.cfg.Eviction.Transition)
	}
	next := pressures{is(v1.NodeMemoryPressure), is(v1.NodeDiskPressure), is(v1.NodePIDPressure)}
	if next != e.node.pressures() {
		e.node.pressed.Store(&next)
		e.node.Look()
	}
}

// waits says whether the last evicted pod is still going.
func (e *evictor) waits(now time.Time) bool {
	if e.going == "" || now.Sub(e.since) > evictionWait {
		return false
	}
	for _, entry := range e.node.board.Entries() {
		if entry.Pod != nil && entry.Pod.UID() == e.going && !entry.Gone {
			return true
		}
	}
	e.going, e.since = "", now // what was measured before it went does not count
	return true
}

func (e *evictor) evict(c candidate, message string) {
	n := e.node
	n.log.Warn().Stringer("pod", c.key).Str("why", message).Msg("evicting pod")
	n.board.Record(Event{Pod: c.key, Type: v1.EventTypeWarning, Reason: "Evicted", Message: message})
	n.pods.Evict(c.pod.UID, "Evicted", message)
	e.going, e.since = c.pod.UID, time.Now()
}

// candidates are the pods of the API server that run. Those of files are the machine's own and never go.
func (e *evictor) candidates(s *statsapi.Summary) (out []candidate) {
	stats := make(map[string]*statsapi.PodStats, len(s.Pods))
	for i := range s.Pods {
		stats[s.Pods[i].PodRef.UID] = &s.Pods[i]
	}
	for _, entry := range e.node.board.Entries() {
		if entry.Pod == nil || entry.Deleted || entry.Gone || entry.Source != e.node.pods.Name() {
			continue
		}
		if p := entry.Status.Phase; p == v1.PodSucceeded || p == v1.PodFailed {
			continue
		}
		object := entry.Pod.Object
		if st := stats[string(object.UID)]; st != nil {
			out = append(out, candidate{key: manifests.Key{Namespace: object.Namespace, Name: object.Name}, pod: object, stats: st})
		}
	}
	return out
}

// resource is what a threshold is about.
func (t Threshold) resource() v1.ResourceName {
	switch t.Signal {
	case signalMemory:
		return v1.ResourceMemory
	case signalPIDs:
		return "pids"
	case signalNodeFsInodes, signalImageInodes:
		return "inodes"
	}
	return v1.ResourceEphemeralStorage
}

// condition is what a threshold makes of the node.
func (t Threshold) condition() v1.NodeConditionType {
	switch t.Signal {
	case signalMemory:
		return v1.NodeMemoryPressure
	case signalPIDs:
		return v1.NodePIDPressure
	}
	return v1.NodeDiskPressure
}

// message is the kubelet's, of a threshold that is met.
func (t Threshold) message(o observation) string {
	return fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ",
		t.resource(), quantityOf(t.resource(), t.of(o.capacity)), quantityOf(t.resource(), o.available))
}
