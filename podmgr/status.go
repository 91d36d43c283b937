package podmgr

import (
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node is what a status says of the node.
type node struct {
	hostIP func() string
}

// facts are what a status is made of.
type facts struct {
	pod  *v1.Pod // the pod shown
	have *Observed
	mem  *memory
	now  time.Time
	// hostIP is the node's address, empty when it has none.
	hostIP string
	// going says that the pod is being removed: what is gone already keeps the status it had.
	going bool
	// prev is the status before, of the same UID; nil when there was none.
	prev *v1.PodStatus
}

// status says how the pod is, as the kubelet would. It is pure, and all it says that can be read off the observed facts
// is read off them, so that a restart of the agent changes nothing; prev only serves where there are no facts.
func status(f facts) v1.PodStatus {
	sb := f.have.sandbox(f.pod.UID)
	s := v1.PodStatus{QOSClass: qosClass(f.pod)}
	for i := range f.pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, f.containerStatus(&f.pod.Spec.Containers[i], sb))
	}
	slices.SortFunc(s.ContainerStatuses, func(a, b v1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) })
	s.Phase = phase(f.pod, s.ContainerStatuses)
	if t := f.startTime(sb); !t.IsZero() {
		s.StartTime = &metav1.Time{Time: wall(t)}
	}
	if f.hostIP != "" {
		s.HostIP, s.HostIPs = f.hostIP, []v1.HostIP{{IP: f.hostIP}}
	}
	for _, ip := range f.podIPs(sb) {
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip})
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
	if f.going && f.prev != nil {
		s.Phase = f.prev.Phase
		if sb == nil {
			s.StartTime, s.PodIP, s.PodIPs = f.prev.StartTime, f.prev.PodIP, f.prev.PodIPs
		}
	}
	s.Conditions = f.conditions(&s, sb)
	return s
}

// startTime is when the pod began to be: its sandbox, or what is left of a completed pod.
func (f *facts) startTime(sb *Sandbox) (t time.Time) {
	if sb != nil {
		return sb.Created
	}
	for i := range f.have.Containers {
		if c := &f.have.Containers[i]; c.UID == f.pod.UID && (t.IsZero() || c.Created.Before(t)) {
			t = c.Created
		}
	}
	return t
}

func (f *facts) podIPs(sb *Sandbox) []string {
	switch {
	case sb == nil || sb.State == SandboxLost:
		return nil
	case f.pod.Spec.HostNetwork && f.hostIP != "":
		return []string{f.hostIP}
	default:
		return sb.IPs
	}
}

// containerStatus is the status of one container, from its two latest instances.
func (f *facts) containerStatus(spec *v1.Container, sb *Sandbox) v1.ContainerStatus {
	last, before := f.have.newest(f.pod.UID, spec.Name)
	if last == nil {
		return f.statusWithout(spec, sb)
	}
	s := v1.ContainerStatus{
		Name: spec.Name, Image: orElse(last.Image, spec.Image), ImageID: last.ImageID,
		ContainerID: containerID(last), RestartCount: int32(last.Attempt),
	}
	running := last.State == Running
	s.Ready, s.Started = running, &running
	reason, message, waits := f.waiting(spec, last, sb)
	switch {
	case running:
		s.State.Running = &v1.ContainerStateRunning{StartedAt: metav1.Time{Time: wall(last.Started)}}
	case last.State == Created:
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: reason, Message: message}
	case waits:
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: reason, Message: message}
		s.LastTerminationState.Terminated = terminated(last)
		return s
	default:
		s.State.Terminated = terminated(last)
	}
	if before != nil && before.State.Ended() {
		s.LastTerminationState.Terminated = terminated(before)
	}
	return s
}

// statusWithout is the status of a container of which no instance exists.
func (f *facts) statusWithout(spec *v1.Container, sb *Sandbox) v1.ContainerStatus {
	if f.going && f.prev != nil {
		for _, s := range f.prev.ContainerStatuses {
			if s.Name == spec.Name {
				return departed(s)
			}
		}
	}
	started := false
	reason, message, _ := f.waiting(spec, nil, sb)
	return v1.ContainerStatus{
		Name: spec.Name, Image: spec.Image, Started: &started,
		State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason, Message: message}},
	}
}

// waiting says what a container waits for. waits is false when that is no more than its turn.
func (f *facts) waiting(spec *v1.Container, last *Container, sb *Sandbox) (reason, message string, waits bool) {
	n := nextStart(f.pod.Spec.RestartPolicy, spec.Name, last, sb, f.mem)
	if f.going || !n.needed {
		return reasonCreating, "", false
	}
	if n.until.After(f.now) {
		return reasonCrashLoop, crashMessage(f.pod, spec.Name, n.wait), true
	}
	if p, failed := f.mem.failed[stepKey{verb: pull, uid: f.pod.UID, target: spec.Image}]; failed {
		reason, message = pullWaiting(spec.Image, &p, f.now)
		return reason, message, true
	}
	s, failed := f.mem.failed[stepKey{verb: start, uid: f.pod.UID, target: spec.Name}]
	if failed && s.attempt == n.attempt {
		return orElse(s.reason, reasonRunError), s.message, true
	}
	if f.othersLeft() {
		return reasonCreating, "another version of the pod is being removed", false
	}
	if e, failed := f.mem.failed[stepKey{verb: ensureSandbox, uid: f.pod.UID}]; failed {
		return reasonCreating, "creating the pod sandbox: " + e.message, false
	}
	return reasonCreating, "", false
}

// othersLeft says whether something of another UID exists.
func (f *facts) othersLeft() bool {
	other := func(uid types.UID) bool { return uid != f.pod.UID }
	return slices.ContainsFunc(f.have.Remains, other) ||
		slices.ContainsFunc(f.have.Sandboxes, func(s Sandbox) bool { return other(s.UID) }) ||
		slices.ContainsFunc(f.have.Containers, func(c Container) bool { return other(c.UID) })
}

// pullWaiting is the kubelet's reason for a pull that failed: first the error, then that the next try is waited for.
func pullWaiting(image string, p *failure, now time.Time) (reason, message string) {
	reason = orElse(p.reason, reasonErrPull)
	if reason == reasonNeverPull || reason == reasonInvalidImage || now.Before(p.at.Add(errShown)) {
		return reason, p.message
	}
	return reasonPullBackOff, `Back-off pulling image "` + image + `": ` + reason + ": " + p.message
}

// terminated is the state of an ended instance.
func terminated(c *Container) *v1.ContainerStateTerminated {
	t := &v1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Signal: c.Signal, Reason: c.Reason, Message: c.Message,
		StartedAt: metav1.Time{Time: wall(c.Started)}, FinishedAt: metav1.Time{Time: wall(c.Finished)},
		ContainerID: containerID(c),
	}
	switch {
	case c.State == Unknown:
		t.Reason = orElse(t.Reason, reasonUnknown)
		t.Message = orElse(t.Message, messageUnknown)
	case t.Reason == "" && c.ExitCode == 0:
		t.Reason = "Completed"
	case t.Reason == "":
		t.Reason = "Error"
	}
	return t
}

// departed is the status of a container that is gone, from the last one it had.
func departed(s v1.ContainerStatus) v1.ContainerStatus {
	if s.State.Running == nil {
		return s
	}
	s.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
		ExitCode: 137, Reason: reasonUnknown, Message: messageUnknown,
		StartedAt: s.State.Running.StartedAt, ContainerID: s.ContainerID,
	}}
	s.Ready, s.Started = false, new(false)
	return s
}

func containerID(c *Container) string { return "containerd://" + c.ID }

// phase is the kubelet's getPhase for pods without init containers.
func phase(pod *v1.Pod, statuses []v1.ContainerStatus) v1.PodPhase {
	var waiting, running, stopped, succeeded, final int
	for i := range statuses {
		ended := statuses[i].State.Terminated
		if statuses[i].State.Waiting != nil {
			ended = statuses[i].LastTerminationState.Terminated
		}
		switch {
		case statuses[i].State.Running != nil:
			running++
		case ended == nil:
			waiting++
		default:
			stopped++
			if ended.ExitCode == 0 {
				succeeded++
			}
			if !restartsCode(pod.Spec.RestartPolicy, ended.ExitCode) {
				final++
			}
		}
	}
	switch {
	case waiting > 0 || running+stopped == 0:
		return v1.PodPending
	case running > 0 || final < stopped:
		return v1.PodRunning
	case succeeded == stopped:
		return v1.PodSucceeded
	default:
		return v1.PodFailed
	}
}

// wall strips the monotonic clock and the location, so that equal times compare equal wherever they were read.
func wall(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Round(0).UTC()
}
