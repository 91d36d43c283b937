package kube

import (
	"context"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// Board is what is reported of pods, as functions that main makes of the pod manager's board. They are called after Run has
// begun, from any goroutine.
type Board struct {
	Entries func() []Entry
	Events  func() []Event
	// Changed returns a channel that is closed at the next change of either; it is taken before reading.
	Changed func() <-chan struct{}
	// Record puts an event on the board.
	Record func(Event)
	// Ready returns a channel that is closed when every source has spoken and every pod that exists has been seen.
	Ready func() <-chan struct{}
}

// Entry is what the board shows of one pod; its fields are described at podmgr.Entry.
type Entry struct {
	Key    manifests.Key
	Pod    *manifests.Pod
	Source string
	// Status must not be written to; another status is another pointer.
	Status *v1.PodStatus
	// Deleted says that no source wants the pod any more, or that it is being deleted; Gone that nothing of it is left.
	Deleted, Gone bool
}

// Event is one thing that happened to a pod; its fields are described at podmgr.Event.
type Event struct {
	Pod         manifests.Key
	Container   string
	Type        string
	Reason      string
	Message     string
	Count       int
	First, Last time.Time
}

// Source is where the pods of the API server come from; it is a podmgr.Source.
type Source interface {
	Name() string
	Run(ctx context.Context, out chan<- manifests.Snapshot) error
}
