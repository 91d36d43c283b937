package podmgr

import (
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Observed is what exists of one pod key on the node. All of it is read from the engine at one moment, none is remembered.
type Observed struct {
	Sandboxes  []Sandbox   // at most one per UID
	Containers []Container // every instance, sorted by UID, name, attempt
	// Remains lists each UID of which a directory, cgroup or lease exists, with or without containers.
	Remains []types.UID
	// Notes are warnings about the pods as they are, for their events.
	Notes []Note
	// Evictions lists the pods that have used more of the disk than they may.
	Evictions []Eviction
}

// Note is something that a person should know about a pod that goes on nevertheless. The worker makes an event of each new
// one.
type Note struct {
	UID       types.UID
	Container string // empty: the pod itself
	Reason    string // the kubelet's, such as DNSConfigForming
	Message   string
	// Waits says that the pod does not go on before what the note tells of has changed; its containers say so.
	Waits bool
}

// ReasonHostPort is the reason of a note, and of an EnsureSandbox, about a port of the node that another pod holds.
const ReasonHostPort = "HostPortConflict"

// Sandbox is the holder of a pod's namespaces.
type Sandbox struct {
	ID    string
	UID   types.UID
	State SandboxState
	// IPs are the pod's addresses, primary first; empty with hostNetwork.
	IPs []string
	// Created is when the sandbox was made (not when its pause was last repaired).
	Created time.Time
	// Life names this life of the sandbox: it is another one after the sandbox was removed and made again, and after a
	// reboot. Container.Life refers to it. Clocks jump; this does not.
	Life string
	// Resources are what the pod's own cgroup was given last of spec.resources; nil: not known.
	Resources *Resources
}

// SandboxState says whether containers can live in a sandbox.
type SandboxState int

const (
	// SandboxLost has lost its namespaces (a reboot): it has to be removed and made anew.
	SandboxLost SandboxState = iota
	// SandboxRepair has its namespaces but not its pause or its network: EnsureSandbox mends it in place, running
	// containers stay.
	SandboxRepair
	// SandboxReady can take containers.
	SandboxReady
)

// Container is one instance of a container of the pod.
type Container struct {
	ID      string
	UID     types.UID // of its pod
	Name    string    // as in spec.containers[].name or spec.initContainers[].name
	Attempt int       // 0 for the first start
	State   ContainerState
	// Sealed says that the exit facts below are durable and the task is gone.
	Sealed bool

	Image   string // reference as in the manifest
	ImageID string // digest that it runs
	LogPath string // its current log file

	Created  time.Time
	Started  time.Time // zero: it never ran
	Finished time.Time // zero while it runs, and for Unknown
	ExitCode int32
	Signal   int32
	Reason   string // Completed, Error, OOMKilled, ContainerStatusUnknown, StartError; empty while it runs
	Message  string // termination message
	// Backoff is how long to wait after this instance ends before the next start (given at Start).
	Backoff time.Duration
	// Life is that of the sandbox it was made for; where one of the two is empty, the times of creation are compared.
	Life string
	// Mark is what Runtime.Mark kept with it.
	Mark Mark
	// Resources are what its cgroup was given last; nil: not known.
	Resources *Resources
	// User is who its first process began as; nil: not known.
	User *v1.LinuxContainerUser
	// Grace is the pod's terminationGracePeriodSeconds when this instance was created: it holds when the manifest is gone.
	Grace time.Duration
}

// ContainerState is the state of one instance.
//
//	Created ──▶ Running ──▶ Exited
//	   └───────────┴──────▶ Unknown   (its task vanished: reboot, a killed shim; Observe reports exit code 255 or 137)
type ContainerState int

const (
	// Created exists but was not started: a start is going on, or was cut off.
	Created ContainerState = iota
	// Running has a live process.
	Running
	// Exited has ended; exit facts are known.
	Exited
	// Unknown has ended, but how is not known.
	Unknown
)

// Ended says whether no process of the container can be alive.
func (s ContainerState) Ended() bool { return s == Exited || s == Unknown }

// sandbox returns the sandbox of a UID, or nil.
func (o *Observed) sandbox(uid types.UID) *Sandbox {
	for i := range o.Sandboxes {
		if o.Sandboxes[i].UID == uid {
			return &o.Sandboxes[i]
		}
	}
	return nil
}

// container returns the container with an ID, or nil.
func (o *Observed) container(id string) *Container {
	for i := range o.Containers {
		if o.Containers[i].ID == id {
			return &o.Containers[i]
		}
	}
	return nil
}

// newest returns the two latest instances of a container; nil where there is none.
func (o *Observed) newest(uid types.UID, name string) (last, before *Container) {
	for i := range o.Containers {
		c := &o.Containers[i]
		switch {
		case c.UID != uid || c.Name != name:
		case last == nil || c.Attempt > last.Attempt:
			last, before = c, last
		case before == nil || c.Attempt > before.Attempt:
			before = c
		}
	}
	return last, before
}

// runs says whether any instance of a container has a live process.
func (o *Observed) runs(uid types.UID, name string) bool {
	for i := range o.Containers {
		if c := &o.Containers[i]; c.UID == uid && c.Name == name && c.State == Running {
			return true
		}
	}
	return false
}

// lives says whether an instance of the UID exists that has not ended.
func (o *Observed) lives(uid types.UID) bool {
	for i := range o.Containers {
		if c := &o.Containers[i]; c.UID == uid && !c.State.Ended() {
			return true
		}
	}
	return false
}

// hasContainers says whether any instance of the UID exists.
func (o *Observed) hasContainers(uid types.UID) bool {
	for i := range o.Containers {
		if o.Containers[i].UID == uid {
			return true
		}
	}
	return false
}

// holds says whether the object that a step was about can still be there; what is yet to be made counts as there.
func (o *Observed) holds(k stepKey) bool {
	switch k.verb {
	case postStart, mark, preStop, stop, seal, remove:
		return o.container(k.target) != nil
	case removeSandbox:
		return o.sandbox(k.uid) != nil
	case forget:
		return slices.Contains(o.Remains, k.uid)
	}
	return true
}

// hasAny says whether anything of the UID is left.
func (o *Observed) hasAny(uid types.UID) bool {
	return o.hasContainers(uid) || o.sandbox(uid) != nil || slices.Contains(o.Remains, uid)
}

// empty says whether nothing of the pod is left.
func (o *Observed) empty() bool {
	return len(o.Sandboxes) == 0 && len(o.Containers) == 0 && len(o.Remains) == 0
}
