package podmgr

import (
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// Entry is what the board shows of one pod. It is immutable once posted.
type Entry struct {
	// Pod is the wanted pod, or, for a pod that is being removed, the last one wanted (nil when the agent never knew it).
	Pod *manifests.Pod
	// Key is the pod's key, always set.
	Key manifests.Key
	// Status is the pod's status as the kubelet would report it.
	Status v1.PodStatus
	// Deleted is when the pod stopped being wanted; zero while it is.
	Deleted time.Time
	// Source is the name of the source that wants it.
	Source string
}

// Event is one thing that happened to a pod or the node, counted when it repeats (fields as in v1.Event).
type Event struct {
	Pod       manifests.Key
	Container string // empty: the pod
	Type      string // Normal or Warning
	Reason    string
	Message   string
	Count     int
	First     time.Time
	Last      time.Time
}
