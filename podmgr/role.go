package podmgr

import v1 "k8s.io/api/core/v1"

// role is the part that a container plays in its pod.
type role int

const (
	// mainRole is a container of spec.containers.
	mainRole role = iota
	// initRole is an init container: it runs to its end before the next one begins.
	initRole
	// sidecarRole is an init container with restartPolicy Always: the next one begins when it has started, and it ends
	// after the main containers.
	sidecarRole
	// ephemeralRole is a container of spec.ephemeralContainers, added to a pod that runs: it is started once, beside all
	// others, and changes nothing of how the pod is.
	ephemeralRole
)

// size is how many containers a pod has, init containers included, ephemeral ones not.
func size(pod *v1.Pod) int { return len(pod.Spec.InitContainers) + len(pod.Spec.Containers) }

// sizeAll is size with the ephemeral containers, which come last.
func sizeAll(pod *v1.Pod) int { return size(pod) + len(pod.Spec.EphemeralContainers) }

// nth is the container with index i in the order in which they are started.
func nth(pod *v1.Pod, i int) (*v1.Container, role) {
	inits := pod.Spec.InitContainers
	if i < len(inits) {
		return &inits[i], initKind(&inits[i])
	}
	i -= len(inits)
	if i < len(pod.Spec.Containers) {
		return &pod.Spec.Containers[i], mainRole
	}
	return ephemeral(pod, i-len(pod.Spec.Containers)), ephemeralRole
}

// ephemeral is an ephemeral container as a container: it has the same fields.
func ephemeral(pod *v1.Pod, i int) *v1.Container {
	return (*v1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
}

// Spec is the container of that name among all that a pod has, ephemeral ones included; nil when it has none.
func Spec(pod *v1.Pod, name string) *v1.Container {
	c, _ := named(pod, name)
	return c
}

// initKind tells a sidecar from an init container that ends.
func initKind(c *v1.Container) role {
	if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
		return sidecarRole
	}
	return initRole
}

// index is where a container of that name stands in the order of starts; -1: the pod has none.
func index(pod *v1.Pod, name string) int {
	for i := range sizeAll(pod) {
		if c, _ := nth(pod, i); c.Name == name {
			return i
		}
	}
	return -1
}

// named is the container of that name, nil when the pod has none.
func named(pod *v1.Pod, name string) (*v1.Container, role) {
	if i := index(pod, name); i >= 0 {
		return nth(pod, i)
	}
	return nil, mainRole
}

// preStopHook and postStartHook are the lifecycle hooks of a container, nil where it has none.
func preStopHook(c *v1.Container) *v1.LifecycleHandler {
	if c == nil || c.Lifecycle == nil {
		return nil
	}
	return c.Lifecycle.PreStop
}

func postStartHook(c *v1.Container) *v1.LifecycleHandler {
	if c == nil || c.Lifecycle == nil {
		return nil
	}
	return c.Lifecycle.PostStart
}

// started says whether what waits for a running instance may go on: its postStart hook and its startup probe have
// succeeded.
func started(spec *v1.Container, c *Container, m Mark) bool {
	return c.State == Running && (postStartHook(spec) == nil || m.Hooked) && (spec.StartupProbe == nil || m.Started)
}

// ready says whether a running instance can do its work.
func ready(spec *v1.Container, c *Container, m Mark) bool {
	return started(spec, c, m) && (spec.ReadinessProbe == nil || m.Ready)
}
