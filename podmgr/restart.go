package podmgr

import (
	"fmt"
	"slices"
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
func (l *life) nextStart(spec *v1.Container, r role, last *Container) next {
	ran := l.mem.ran[spec.Name] // counts on even when someone else removed the last instance
	switch {
	case r == ephemeralRole && (ran > 0 || last != nil && last.State != Created):
		return next{} // it runs once
	case last == nil:
		return next{needed: true, attempt: ran}
	case last.State == Running:
		return next{}
	case last.State == Created:
		return next{needed: true, attempt: last.Attempt, backoff: last.Backoff}
	}
	mark := l.mem.mark(last)
	base, limit := l.mem.crashes()
	n := next{needed: true, attempt: max(last.Attempt+1, ran), backoff: base}
	if l.past(last) && !l.triggers(last) || r == initRole && !failed(last) && !l.active(last) {
		return n // the pod begins anew: as after the first instance
	}
	if !restarts(l.pod, spec, r, last, mark) {
		return next{}
	}
	if mark.Ended == EndedByChange || outdated(spec, last) {
		return n // back-off is for what was tried already
	}
	since := last.Finished
	switch {
	case last.State == Unknown && since.IsZero() && outlived(last, l.sb),
		!since.IsZero() && !last.Started.IsZero() && since.Sub(last.Started) >= crashReset:
		return n // a reboot or a long run: as after the first instance
	case since.IsZero():
		since = last.Started // no end is known; its start is a bound for it
		if since.IsZero() {
			since = last.Created
		}
	}
	n.wait = min(last.Backoff, limit)
	n.backoff = min(max(2*last.Backoff, base), limit)
	n.until = since.Add(n.wait)
	if seen := l.mem.endSeen(last); !seen.IsZero() && seen.Add(n.wait).Before(n.until) {
		n.until = seen.Add(n.wait) // the clock was set back after the instance ended
	}
	return n
}

// crashes is the shortest and the longest CrashLoopBackOff.
func (m *memory) crashes() (base, limit time.Duration) {
	limit = crashLimit
	if m.crashMax > 0 {
		limit = m.crashMax
	}
	return min(crashBase, limit), limit
}

// restarts says whether an ended instance is followed by another one, as the kubelet decides it.
func restarts(pod *v1.Pod, spec *v1.Container, r role, last *Container, mark Mark) bool {
	switch {
	case mark.Ended == EndedForRestart || mark.Ended == EndedByChange || r == sidecarRole:
		return true
	case r == initRole && !failed(last):
		return false
	case mark.Ended == EndedByLiveness || mark.Ended == EndedByStartup || unknownEnd(last):
		return policyOf(pod, spec) != v1.RestartPolicyNever // its exit code says nothing: the rules are not asked
	case r == initRole && ruleFor(spec, last.ExitCode) == nil:
		return policyOf(pod, spec) != v1.RestartPolicyNever // one that was killed for memory has failed even with code 0
	default:
		return restartsCode(pod, spec, last.ExitCode)
	}
}

// restartsCode says whether a container is restarted after an exit code: the first rule that matches decides, then the
// container's own policy, then the pod's.
func restartsCode(pod *v1.Pod, spec *v1.Container, code int32) bool {
	if ruleFor(spec, code) != nil {
		return true // both actions that there are restart it
	}
	switch policyOf(pod, spec) {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return code != 0
	default:
		return true
	}
}

// policyOf is the restart policy that holds for a container.
func policyOf(pod *v1.Pod, spec *v1.Container) v1.RestartPolicy {
	if spec.RestartPolicy != nil {
		return v1.RestartPolicy(*spec.RestartPolicy)
	}
	return pod.Spec.RestartPolicy
}

// ruleFor is the first of restartPolicyRules that matches an exit code, nil when none does. Rules count only beside a
// restartPolicy of the container.
func ruleFor(spec *v1.Container, code int32) *v1.ContainerRestartRule {
	if spec.RestartPolicy == nil {
		return nil
	}
	for i := range spec.RestartPolicyRules {
		codes := spec.RestartPolicyRules[i].ExitCodes
		if codes == nil {
			continue
		}
		in := slices.Contains(codes.Values, code)
		if codes.Operator == v1.ContainerRestartRuleOnExitCodesOpIn && in ||
			codes.Operator == v1.ContainerRestartRuleOnExitCodesOpNotIn && !in {
			return &spec.RestartPolicyRules[i]
		}
	}
	return nil
}

// failed says whether an ended init container has failed.
func failed(c *Container) bool {
	return c.ExitCode != 0 || c.Reason == reasonOOM || unknownEnd(c)
}

// unknownEnd says whether nobody knows how an instance ended.
func unknownEnd(c *Container) bool { return c.State == Unknown || c.Reason == reasonUnknown }

// outlived says whether an instance lived in an earlier sandbox than sb.
func outlived(c *Container, sb *Sandbox) bool {
	switch {
	case sb == nil || sb.State == SandboxLost:
		return true
	case c.Life != "" && sb.Life != "":
		return c.Life != sb.Life
	default:
		return c.Created.Before(sb.Created)
	}
}

// crashMessage is the kubelet's message for CrashLoopBackOff.
func crashMessage(pod *v1.Pod, container string, wait time.Duration) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", wait, container, longName(pod))
}

// longName is a pod as the kubelet writes it in messages: name_namespace(uid).
func longName(pod *v1.Pod) string { return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID) }
