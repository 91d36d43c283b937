package kube

import (
	"context"

	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Host is what a Node needs of the rest of the agent. Functions are called from any goroutine and must not block for long;
// those that are nil answer nothing.
type Host struct {
	// Name is the node's name; Version the agent's, KubeletVersion that of the Kubernetes whose kubelet this agent equals.
	Name, Version, KubeletVersion string
	// Root is the directory whose filesystem is the node's ephemeral storage.
	Root string
	// RuntimeVersion is containerd's version; Runtime says why containers cannot be run, Network why they would have none.
	RuntimeVersion func(ctx context.Context) string
	Runtime        func(ctx context.Context) error
	Network        func() error
	// Images lists the images on the node.
	Images func(ctx context.Context) ([]v1.ContainerImage, error)
	// Handlers are the OCI runtimes, and what they can do.
	Handlers func() []v1.NodeRuntimeHandler
	// Summary measures the node and its pods; it is asked after Run has begun.
	Summary func(ctx context.Context) (*statsapi.Summary, error)
	Log     zerolog.Logger
}

// withDefaults puts an answer in the place of each question that was left out.
func (h Host) withDefaults() Host {
	if h.RuntimeVersion == nil {
		h.RuntimeVersion = func(context.Context) string { return "" }
	}
	if h.Runtime == nil {
		h.Runtime = func(context.Context) error { return nil }
	}
	if h.Network == nil {
		h.Network = func() error { return nil }
	}
	if h.Images == nil {
		h.Images = func(context.Context) ([]v1.ContainerImage, error) { return nil, nil }
	}
	if h.Handlers == nil {
		h.Handlers = func() []v1.NodeRuntimeHandler { return nil }
	}
	if h.Summary == nil {
		h.Summary = func(context.Context) (*statsapi.Summary, error) { return nil, nil }
	}
	return h
}
