package podmgr

import (
	"strings"

	v1 "k8s.io/api/core/v1"
)

// maxMessages is how many bytes the termination messages of a pod may have together, as with the kubelet.
const maxMessages = 12 << 10

// describe puts into a container's status what it was made with: who it runs as, what is mounted where, how it is
// stopped. shown is its status before, nil when there is none.
func describe(s *v1.ContainerStatus, spec *v1.Container, c *Container, shown *v1.ContainerStatus) {
	if c.User != nil {
		s.User = &v1.ContainerUser{Linux: c.User}
	}
	if l := spec.Lifecycle; l != nil && l.StopSignal != nil {
		s.StopSignal = l.StopSignal
	}
	s.VolumeMounts = mounts(spec, shown)
}

// mounts are a container's as its status shows them.
func mounts(spec *v1.Container, shown *v1.ContainerStatus) (all []v1.VolumeMountStatus) {
	if shown != nil && len(shown.VolumeMounts) == len(spec.VolumeMounts) {
		return shown.VolumeMounts // they do not change
	}
	for i := range spec.VolumeMounts {
		all = append(all, mountStatus(&spec.VolumeMounts[i]))
	}
	return all
}

func mountStatus(m *v1.VolumeMount) v1.VolumeMountStatus {
	s := v1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
	if m.ReadOnly {
		mode := v1.RecursiveReadOnlyDisabled
		if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != v1.RecursiveReadOnlyDisabled {
			mode = v1.RecursiveReadOnlyEnabled // where it cannot be had, Enabled does not start
		}
		s.RecursiveReadOnly = &mode
	}
	return s
}

// shorten cuts termination messages to each container's share of what a pod may have.
func shorten(s *v1.PodStatus) {
	lists := [][]v1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses}
	n := 0
	for _, list := range lists {
		n += len(list)
	}
	for _, list := range lists {
		for i := range list {
			c := &list[i]
			c.State.Terminated = shortened(c.State.Terminated, maxMessages/n)
			c.LastTerminationState.Terminated = shortened(c.LastTerminationState.Terminated, maxMessages/n)
		}
	}
}

// shortened is a state with at most so many bytes of message; it may be shared with a status that is on the board.
func shortened(t *v1.ContainerStateTerminated, most int) *v1.ContainerStateTerminated {
	if t == nil || len(t.Message) <= most {
		return t
	}
	short := *t
	short.Message = strings.ToValidUTF8(t.Message[:most], "")
	return &short
}
