package podmgr

import (
	"context"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Source says which pods are wanted. The first Snapshot means "I now know everything"; before it, nothing is removed.
//
// A pod whose Object.DeletionTimestamp is set is taken down within Object.DeletionGracePeriodSeconds, from when that is
// seen first; then Entry.Gone says that nothing of it is left, until the source drops it. A pod whose Object.Status has
// the phase Succeeded or Failed has come to its end: what runs of it is stopped, nothing of it starts, and its status says
// that phase with its reason and message (with DeletionGracePeriodSeconds it has no longer than that, as for an eviction).
//
// Under one UID a pod of an API server may change: its ephemeral containers, its images, its resources. The resources in
// Object.Spec are those that the source has admitted: as long as it defers a resize it keeps the former ones there and
// says so by the condition PodResizePending in Object.Status, which the board's status repeats.
type Source interface {
	// Name is the source's name in logs and statuses, such as "dir:/etc/agent/manifests".
	Name() string
	// Run sends a Snapshot whenever the source's whole set differs from the last one sent, until ctx ends.
	Run(ctx context.Context, out chan<- manifests.Snapshot) error
}

// Runtime is what the pod manager needs of a container engine. The laws, for every adapter (package runtimetest holds
// them as a suite):
//
//   - Every method is idempotent: ensuring what exists and removing what is gone return nil.
//   - Every method may be cancelled through ctx at any moment, or the process killed inside it; calling it again, or
//     calling the opposite, converges.
//   - Methods for different pods may be called at the same time; for one pod, only on different targets (the sandbox,
//     a container name, a container ID, a reference).
//   - An error of Observe means "unknown", never "absent".
//   - Errors that carry a kubelet reason (ErrImagePull, CreateContainerConfigError, …) are *ReasonError.
type Runtime interface {
	// Keys lists every pod of which anything is left: a container, a sandbox, a directory, a cgroup.
	Keys(ctx context.Context) ([]manifests.Key, error)
	// Observe says what exists of the pod k now, whatever its UID. It does not block on the workload.
	Observe(ctx context.Context, k manifests.Key) (Observed, error)
	// Pull makes the image ref present by the given policy. It blocks until the image is here or the attempt failed;
	// concurrent pulls of one reference share one transfer. Note is a warning for the pod's events when the image is
	// used although the registry could not be reached.
	Pull(ctx context.Context, p *manifests.Pod, ref string, policy PullPolicy) (PullResult, error)
	// EnsureSandbox makes the pod's directories, cgroup, namespaces, network and pause exist, in place where parts of
	// it do. It returns when containers may be started.
	EnsureSandbox(ctx context.Context, p *manifests.Pod) error
	// Start creates and starts one instance of any container of the pod; its image is here. An ephemeral one with a
	// target sees that container's processes; without a running target it fails. Start may be called while EnsureSandbox
	// of the pod goes on: it prepares the container, then waits for the sandbox. When the sandbox cannot take the container
	// it fails with ReasonNoSandbox, which is no failure of the container. Starting an attempt that already runs or has
	// ended returns nil.
	Start(ctx context.Context, p *manifests.Pod, s Instance) error
	// Exec runs a command in the running container id and returns when it has ended: nil for exit code 0, *ExitError for
	// another. When ctx ends first, the command is killed with everything it started, and the error is ctx's. It may be
	// called at the same time as anything else.
	Exec(ctx context.Context, id string, c Command) error
	// Mark keeps m with the instance id, in place of an earlier mark, where a restart of the agent finds it; a reboot may
	// lose it. Observe shows it. Marking an instance that is gone returns nil.
	Mark(ctx context.Context, id string, m Mark) error
	// Refresh brings what the pod's mounted volumes show (ConfigMaps, Secrets, its own labels) up to what p carries, each
	// volume at once and whole. It makes no volume that no Start has made, and may be called while a Start goes on.
	Refresh(ctx context.Context, p *manifests.Pod) error
	// Resize brings the cgroups of the pod and of the named containers, as far as they run, to the resources that p gives
	// them, in such an order that the pod's never has less than one of its containers'. Observe shows it. It fails when a
	// limit would come below what is in use; what was done until then is seen.
	Resize(ctx context.Context, p *manifests.Pod, containers []string) error
	// Recall returns what is kept of a pod since it came to the node, whatever became of its manifest; zero when nothing
	// is.
	Recall(ctx context.Context, k manifests.Key, uid types.UID) (Recalled, error)
	// Stop sends the stop signal, waits for the exit up to grace (rounded up to 1 ns when negative is given), kills
	// the whole container and returns when it has ended. The exit facts stay observable.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Seal writes the exit facts of an ended container where they survive a crash and a reboot and releases its task.
	Seal(ctx context.Context, id string) error
	// Remove deletes a container that has ended or was created and never started, with its snapshot, task, log pipes and log.
	// It fails on a running one.
	Remove(ctx context.Context, id string) error
	// RemoveSandbox ends the pause and removes network, namespaces and mounts of one sandbox; containers must have ended.
	RemoveSandbox(ctx context.Context, id string) error
	// Forget removes what is left of a pod when containers and sandbox are gone: volumes, directories, logs, cgroup,
	// lease. After it, Keys and Observe no longer know the UID.
	Forget(ctx context.Context, k manifests.Key, uid types.UID) error
	// Events sends the key of a pod that may have changed; the zero Key means "look at all". They are hints: they may
	// be late, doubled or lost.
	Events(ctx context.Context) <-chan manifests.Key
}

// Recalled is what a Runtime keeps of a pod.
type Recalled struct {
	// Pod is the pod as EnsureSandbox or Start last had it.
	Pod *v1.Pod
	// Since is when it first came to the node; it survives everything but Forget.
	Since time.Time
}

// PullPolicy is spec.containers[].imagePullPolicy.
type PullPolicy string

// PullResult tells how an image came to be here.
type PullResult struct {
	// ImageID is the digest of the image's manifest or configuration, as the kubelet reports it.
	ImageID string
	// Pulled is true when a registry was asked and content transferred or confirmed.
	Pulled bool
	// Bytes is the size of the image as stored, compressed; Took is the time the transfer needed.
	Bytes int64
	Took  time.Duration
	// Note is set when a local image is used although the policy asked for the registry, with the reason.
	Note string
}

// Instance names one start of a container.
type Instance struct {
	Container string
	// Attempt counts the starts from 0; it is the restart count.
	Attempt int
	// Backoff is how long the manager has to wait after this instance ends before it starts the next; it is kept with
	// the instance, so that a restart of the agent does not forget it.
	Backoff time.Duration
}

// ReasonNoSandbox is the reason of a Start whose sandbox is not usable.
const ReasonNoSandbox = "SandboxNotReady"

// ReasonError is an error of a Runtime with the reason the kubelet reports for it.
type ReasonError struct {
	// Reason is a waiting reason: ErrImagePull, ErrImageNeverPull, InvalidImageName, CreateContainerConfigError,
	// CreateContainerError, RunContainerError, FailedCreatePodSandBox; or one of the kubelet's admission.
	Reason string
	Err    error
	// Rejected says that this node cannot run the pod at all: its phase is Failed, with this reason.
	Rejected bool
}

func (e *ReasonError) Error() string { return e.Err.Error() }
func (e *ReasonError) Unwrap() error { return e.Err }
