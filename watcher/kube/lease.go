//go:build !nokube

package kube

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr/funcr"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// leaseSeconds is the length of the node's lease, renewed after a quarter of it: nodeLeaseDurationSeconds of the kubelet.
const leaseSeconds = 40

// runLease keeps the node's lease alive until ctx ends; leaving lets it run out, as the node itself stays. After five
// failures in a row the connections begin anew: a link that came back with another address leaves dead ones behind.
func (n *Node) runLease(ctx context.Context) {
	// What stands in the way of the lease stands in that of the status as well, which says so now and then, not always.
	ctx = klog.NewContext(ctx, funcr.New(func(_, args string) {
		n.log.Debug().Str("from", "lease").Msg(args)
	}, funcr.Options{}))
	lease.NewController(clock.RealClock{}, n.clients.heartbeat, n.host.Name, leaseSeconds, n.conn.closeAll,
		leaseSeconds*time.Second/4, n.host.Name, v1.NamespaceNodeLease, n.ownLease).Run(ctx)
}

// ownLease makes the Node the owner of the lease, so that it goes with it. Without a UID it would be collected at once.
func (n *Node) ownLease(l *coordinationv1.Lease) error {
	if len(l.OwnerReferences) > 0 {
		return nil
	}
	node := n.seen.Load()
	if node == nil || node.UID == "" {
		return fmt.Errorf("making the lease of node %q: the node is not registered yet", n.host.Name)
	}
	l.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1.SchemeGroupVersion.Version, Kind: "Node", Name: node.Name, UID: node.UID,
	}}
	return nil
}
