package metrics

import (
	"context"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
)

// Config is what the collectors need. Functions are called from any goroutine, must not block for long, and return data
// that nobody writes to afterwards.
type Config struct {
	// NodeName is the node's name in every answer.
	NodeName string
	// Version is the agent's version, for agent_build_info.
	Version string
	// Housekeeping is the interval of cAdvisor; 0 turns it off, and with it /metrics/cadvisor, /metrics/resource and
	// /stats/summary.
	Housekeeping time.Duration
	// Socket is containerd's socket, Namespace the namespace of the agent's containers in it.
	Socket    string
	Namespace string
	// CgroupRoot is the parent cgroup of kubepods, as in --cgroup-root.
	CgroupRoot string
	// Root is a directory on the node's filesystem (kubelet: nodefs), ImageRoot one on that of images and writable layers.
	Root      string
	ImageRoot string
	// PodLogs is the directory with the pods' log directories.
	PodLogs string

	// Pods lists the pods on the board; it must be set.
	Pods func() []Pod
	// Changed returns a channel that is closed at the next change of Pods. Nil: they are looked at every 10 s.
	Changed func() <-chan struct{}
	// Problems lists what is wrong with the manifests; nil when no source has any to tell.
	Problems func() []manifests.Problem
	// Images sums up the images on the node; nil leaves their metrics out.
	Images func(ctx context.Context) (Images, error)
	// VolumeDir is where a volume of a pod lies on the node, "" for one that is not there or not to be measured (a
	// hostPath: it is not the pod's). Nil leaves volumes out.
	VolumeDir func(p *v1.Pod, v *v1.Volume) string

	// Tracer sends the starts of pods; nil sends none. Whoever made it closes it, after Run.
	Tracer *Tracer

	Log zerolog.Logger
}

// Pod is one pod on the board.
type Pod struct {
	Key manifests.Key
	// Object is the wanted pod; nil for one that is being removed and was never known.
	Object *v1.Pod
	// Status is its status as the kubelet would report it.
	Status *v1.PodStatus
	// Deleted is when it stopped being wanted; zero while it is.
	Deleted time.Time
	// FromAPI says that it comes from an API server rather than from a file.
	FromAPI bool
}

// Images sums up the images on the node.
type Images struct {
	Count, Pinned int
	Bytes         int64 // in the content store, compressed
}

// uid is the pod's UID, "" when the pod was never known.
func (p *Pod) uid() string {
	if p.Object == nil {
		return ""
	}
	return string(p.Object.UID)
}
