package podmgr

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

// The kubelet's CrashLoopBackOff.
const (
	crashBase  = 10 * time.Second
	crashLimit = 300 * time.Second
	crashReset = 600 * time.Second // an instance that ran this long starts the sequence over
)

// next says how a container goes on.
type next struct {
	// needed is false while it runs and when it has completed for good.
	needed bool
	// attempt and backoff are those of the instance to start.
	attempt int
	backoff time.Duration
	// wait is the back-off that the last instance carries, until when it lasts; zero: none.
	wait  time.Duration
	until time.Time
}

// nextStart derives from the last instance of a container whether, as what and when it has to be started. Everything
// but the guard against clock jumps comes from observed facts, so a restart of the agent changes nothing.
func nextStart(policy v1.RestartPolicy, name string, last *Container, sb *Sandbox, mem *memory) next {
	ran := mem.ran[name] // counts on even when someone else removed the last instance
	switch {
	case last == nil:
		return next{needed: true, attempt: ran}
	case last.State == Running:
		return next{}
	case last.State == Created:
		return next{needed: true, attempt: last.Attempt, backoff: last.Backoff}
	case !restarts(policy, last):
		return next{}
	}
	n := next{needed: true, attempt: max(last.Attempt+1, ran)}
	since := last.Finished
	switch {
	case last.State == Unknown && since.IsZero() && outlived(last, sb),
		!since.IsZero() && !last.Started.IsZero() && since.Sub(last.Started) >= crashReset:
		n.backoff = crashBase // a reboot or a long run: as after the first instance
		return n
	case since.IsZero():
		since = last.Started // no end is known; its start is a bound for it
		if since.IsZero() {
			since = last.Created
		}
	}
	n.wait = last.Backoff
	n.backoff = min(max(2*last.Backoff, crashBase), crashLimit)
	n.until = since.Add(n.wait)
	if seen, ok := mem.ended[last.ID]; ok && seen.Add(n.wait).Before(n.until) {
		n.until = seen.Add(n.wait) // the clock was set back after the instance ended
	}
	return n
}

// restarts says whether a restart policy restarts an ended instance.
func restarts(policy v1.RestartPolicy, last *Container) bool {
	return restartsCode(policy, last.ExitCode) || last.State == Unknown && policy == v1.RestartPolicyOnFailure
}

// restartsCode says whether a restart policy restarts after an exit code.
func restartsCode(policy v1.RestartPolicy, code int32) bool {
	switch policy {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return code != 0
	default:
		return true
	}
}

// outlived says whether an instance lived in an earlier sandbox than sb.
func outlived(c *Container, sb *Sandbox) bool {
	return sb == nil || sb.State == SandboxLost || c.Created.Before(sb.Created)
}

// crashMessage is the kubelet's message for CrashLoopBackOff.
func crashMessage(pod *v1.Pod, container string, wait time.Duration) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", wait, container, longName(pod))
}

// longName is a pod as the kubelet writes it in messages: name_namespace(uid).
func longName(pod *v1.Pod) string { return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID) }
