//go:build !nokube

package kube

import (
	"context"
	"fmt"
	"strconv"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	nodeutil "k8s.io/component-helpers/node/util"

	"k8s.io/apimachinery/pkg/types"
)

// watchNode keeps what is known of the Node fresh until ctx ends: labels and taints that admission looks at, conditions
// that others set, and its deletion.
func (n *Node) watchNode(ctx context.Context) {
	list := cache.NewListWatchFromClient(n.clients.kube.CoreV1().RESTClient(), "nodes", "", fields.OneTermEqualSelector("metadata.name", n.host.Name))
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: list, ObjectType: &v1.Node{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { n.see(o.(*v1.Node)) },
			UpdateFunc: func(_, o any) { n.see(o.(*v1.Node)) },
			DeleteFunc: func(any) {
				n.log.Warn().Msg("the Node was deleted in the API server; it is registered again")
				n.seen.Store(nil)
				n.Look()
			},
		},
	})
	informer.RunWithContext(ctx)
}

// see takes in a newer state of the Node. What a watch tells may be older than the answer to a patch.
func (n *Node) see(node *v1.Node) {
	for {
		old := n.seen.Load()
		if old != nil && old.UID == node.UID && version(old) >= version(node) {
			return
		}
		if n.seen.CompareAndSwap(old, node) {
			return
		}
	}
}

// version is a resourceVersion as the number it is.
func version(n *v1.Node) uint64 {
	v, err := strconv.ParseUint(n.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// patchNode sends the difference between two states of the Node to its status, which takes labels and annotations as well.
// The client has a timeout.
func patchNode(nodes corev1.CoreV1Interface, old, next *v1.Node) (*v1.Node, error) {
	shown, _, err := nodeutil.PatchNodeStatus(nodes, types.NodeName(next.Name), old, next)
	if err != nil {
		return nil, fmt.Errorf("patching the node: %w", err)
	}
	return shown, nil
}
