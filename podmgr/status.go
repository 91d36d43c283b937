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
	// deleting says that it is the API server that removes it, ended that nothing of it runs any more or comes to.
	deleting, ended bool
	// prev is the status before, of the same UID; nil when there was none.
	prev *v1.PodStatus

	// life and over are set by status: how far the pod has come, and whether it has come to its end.
	life life
	over bool
}

// status says how the pod is, as the kubelet would. It is pure, and all it says that can be read off the observed facts
// is read off them, so that a restart of the agent changes nothing; prev only serves where there are no facts.
func status(f facts) v1.PodStatus {
	f.life = lifeOf(f.pod, f.have, f.mem, f.now)
	_, f.over = f.life.ended()
	sb := f.life.sb
	s := v1.PodStatus{ObservedGeneration: f.pod.Generation, QOSClass: QOSClass(f.pod)}
	for i := range f.pod.Spec.InitContainers {
		c := &f.pod.Spec.InitContainers[i]
		s.InitContainerStatuses = append(s.InitContainerStatuses, f.containerStatus(c, initKind(c)))
	}
	for i := range f.pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, f.containerStatus(&f.pod.Spec.Containers[i], mainRole))
	}
	for i := range f.pod.Spec.EphemeralContainers {
		c := f.containerStatus(ephemeral(f.pod, i), ephemeralRole)
		c.Started, c.Ready = nil, false
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, c)
	}
	byName := func(a, b v1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(s.ContainerStatuses, byName)
	slices.SortFunc(s.EphemeralContainerStatuses, byName)
	f.podResources(&s)
	shorten(&s)
	s.Phase = f.phase(&s)
	if t := f.life.began(); !t.IsZero() {
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
	if f.going && f.prev != nil && sb == nil {
		s.StartTime, s.PodIP, s.PodIPs = f.prev.StartTime, f.prev.PodIP, f.prev.PodIPs
	}
	f.conclude(&s)
	s.Conditions = f.conditions(&s)
	return s
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
func (f *facts) containerStatus(spec *v1.Container, r role) v1.ContainerStatus {
	last, before := f.have.newest(f.pod.UID, spec.Name)
	if last == nil {
		return f.statusWithout(spec, r)
	}
	shown := f.shown(spec.Name)
	if f.going && shown != nil && int(shown.RestartCount) > last.Attempt {
		return departed(*shown) // it was removed before its predecessor
	}
	s := v1.ContainerStatus{
		Name: spec.Name, Image: orElse(last.Image, spec.Image), ImageID: last.ImageID,
		ContainerID: containerID(last), RestartCount: int32(last.Attempt),
	}
	showResources(&s, spec, last)
	describe(&s, spec, last, shown)
	running, mark := last.State == Running, f.mem.mark(last)
	s.Started = new(started(spec, last, mark))
	s.Ready = ready(spec, last, mark)
	if r == initRole {
		s.Started = &running
		s.Ready = last.State.Ended() && !failed(last) && !f.again(last)
	}
	reason, message, waits := f.waiting(spec, r, last)
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
	} else if f.going && shown != nil {
		s.LastTerminationState = shown.LastTerminationState
	}
	return s
}

// statusWithout is the status of a container of which no instance exists.
func (f *facts) statusWithout(spec *v1.Container, r role) v1.ContainerStatus {
	if s := f.shown(spec.Name); s != nil && (f.going || final(f.pod.Status.Phase) || r == ephemeralRole) {
		return departed(*s)
	}
	s := v1.ContainerStatus{
		Name: spec.Name, Image: spec.Image, Started: new(false), VolumeMounts: mounts(spec, f.shown(spec.Name)),
	}
	if r == initRole && f.life.initialized() {
		s.Ready = true
		s.State.Terminated = &v1.ContainerStateTerminated{Reason: "Completed", Message: messageInitGone}
		return s
	}
	reason, message, _ := f.waiting(spec, r, nil)
	s.State.Waiting = &v1.ContainerStateWaiting{Reason: reason, Message: message}
	return s
}

// waiting says what a container waits for. waits is false when that is no more than its turn.
func (f *facts) waiting(spec *v1.Container, r role, last *Container) (reason, message string, waits bool) {
	idle := reasonCreating
	if len(f.pod.Spec.InitContainers) > 0 {
		idle = reasonInitializing
	}
	n := f.life.nextStart(spec, r, last)
	if f.over || f.going || !n.needed {
		return idle, "", false
	}
	if n.until.After(f.now) {
		return reasonCrashLoop, crashMessage(f.pod, spec.Name, n.wait), true
	}
	if last != nil && f.mem.mark(last).Ended == EndedByHook && last.State.Ended() {
		return reasonHookError, f.mem.hookError(last), true
	}
	if image, p, failed := f.pullFailure(spec); failed && f.due(spec, r) {
		reason, message = pullWaiting(image, &p, f.now)
		return reason, message, true
	}
	s, failed := f.mem.failed[stepKey{verb: start, uid: f.pod.UID, target: spec.Name}]
	if failed && s.attempt == n.attempt {
		return orElse(s.reason, reasonRunError), s.message, true
	}
	if f.othersLeft() {
		return idle, "another version of the pod is being removed", false
	}
	for _, n := range f.have.Notes {
		if n.UID == f.pod.UID && n.Waits {
			return idle, n.Message, false
		}
	}
	if e, failed := f.mem.failed[stepKey{verb: ensureSandbox, uid: f.pod.UID}]; failed {
		return idle, "creating the pod sandbox: " + e.message, false
	}
	return idle, "", last != nil && r == initRole && f.again(last)
}

// again says whether an init container that ran before the pod began anew is to run again.
func (f *facts) again(last *Container) bool {
	return !f.going && !f.over && !f.life.active(last) && !f.life.initialized()
}

// due says whether it is a container's turn to be started; until then another one's failing image is not its concern.
func (f *facts) due(spec *v1.Container, r role) bool {
	if r == ephemeralRole || f.life.initialized() {
		return true
	}
	reached := f.life.reached()
	for i := range f.pod.Spec.InitContainers {
		c := &f.pod.Spec.InitContainers[i]
		if c.Name == spec.Name {
			return true
		}
		if i >= reached && !f.life.initDone(c, initKind(c)) {
			return false
		}
	}
	return r == mainRole
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

func containerID(c *Container) string { return "containerd://" + c.ID }

// wall strips the monotonic clock and the location, so that equal times compare equal wherever they were read.
func wall(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Round(0).UTC()
}
