package podmgr

import "time"

// Reasons as the kubelet writes them, in statuses and events.
const (
	reasonNeverPull     = "ErrImageNeverPull"
	reasonInvalidImage  = "InvalidImageName"
	reasonErrPull       = "ErrImagePull"
	reasonPullBackOff   = "ImagePullBackOff"
	reasonCrashLoop     = "CrashLoopBackOff"
	reasonCreating      = "ContainerCreating"
	reasonRunError      = "RunContainerError"
	reasonUnknown       = "ContainerStatusUnknown"
	reasonSandboxFailed = "FailedCreatePodSandBox"
	reasonInitializing  = "PodInitializing"
	reasonConfigError   = "CreateContainerConfigError"
	reasonHookError     = "PostStartHookError"
	reasonOOM           = "OOMKilled"
	reasonDeadline      = "DeadlineExceeded"
	reasonHookFailed    = "FailedPostStartHook"
)

// messageUnknown is the kubelet's message for a container that vanished.
const messageUnknown = "The container could not be located when the pod was terminated"

// messageInitGone is the kubelet's message for an init container of which nothing is left and which must have succeeded.
const messageInitGone = "Unable to get init container status from container runtime and pod has been initialized, " +
	"treat it as exited normally"

// messageDeadline is the kubelet's message for a pod whose active deadline has passed.
const messageDeadline = "Pod was active on the node longer than the specified deadline"

// messageRejected stands before the reason why the node cannot run a pod, as the kubelet writes it.
const messageRejected = "Pod was rejected: "

// errShown is how long a status shows that a pull failed before it shows that the next one is waited for.
const errShown = 2 * time.Second
