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
)

// messageUnknown is the kubelet's message for a container that vanished.
const messageUnknown = "The container could not be located when the pod was terminated"

// errShown is how long a status shows that a pull failed before it shows that the next one is waited for.
const errShown = 2 * time.Second
