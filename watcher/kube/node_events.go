//go:build !nokube

package kube

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// nodeEvents are the events about the node itself. Those that cannot be sent are tried for a while and then dropped.
type nodeEvents struct {
	node        *Node
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
}

func newNodeEvents(n *Node) *nodeEvents {
	b := record.NewBroadcaster()
	return &nodeEvents{node: n, broadcaster: b, recorder: b.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: n.host.Name})}
}

// run sends until ctx ends.
func (e *nodeEvents) run(ctx context.Context) {
	w := e.broadcaster.StartRecordingToSink(&typed.EventSinkImpl{Interface: e.node.clients.events.CoreV1().Events("")})
	<-ctx.Done()
	w.Stop()
	e.broadcaster.Shutdown()
}

// record notes an event about the node. The kubelet refers to a node by its name in place of the UID, and kubectl looks for
// both.
func (e *nodeEvents) record(kind, reason, message string) {
	uid := types.UID(e.node.host.Name)
	if seen := e.node.seen.Load(); seen != nil && seen.UID != "" {
		uid = seen.UID
	}
	e.recorder.Event(&v1.ObjectReference{Kind: "Node", Name: e.node.host.Name, UID: uid, APIVersion: "v1"}, kind, reason, message)
}

// changes records what changed between two reports. Booted is the bootID that a reboot was recorded for, so that a report
// that has to be tried again does not tell twice.
func (e *nodeEvents) changes(old, now *v1.NodeStatus, booted *string) {
	name := e.node.host.Name
	if was, is := old.NodeInfo.BootID, now.NodeInfo.BootID; was != "" && was != is && *booted != is {
		*booted = is
		e.record(v1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", name, is))
	}
	words := map[v1.NodeConditionType][2]string{
		v1.NodeReady:          {"NodeReady", "NodeNotReady"},
		v1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
		v1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
		v1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
	}
	for _, c := range now.Conditions {
		reasons, ours := words[c.Type]
		if before := condition(old, c.Type); !ours || before != nil && before.Status == c.Status {
			continue
		}
		reason := reasons[1]
		if c.Status == v1.ConditionTrue {
			reason = reasons[0]
		}
		e.record(v1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", name, reason))
	}
}
