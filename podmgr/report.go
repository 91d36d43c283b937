package podmgr

import (
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

const (
	normal  = v1.EventTypeNormal
	warning = v1.EventTypeWarning
)

// record puts an event of this pod on the board.
func (w *worker) record(container, kind, reason, format string, args ...any) {
	w.board.Record(Event{Pod: w.key, Container: container, Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// announce records the events that the kubelet has for the beginning of a step; told says that an instance is told to
// end for the first time.
func (w *worker) announce(s *step, told bool) {
	switch {
	case told:
		w.record(s.container, normal, "Killing", "%s", w.killing(s))
	case s.verb == resize:
		w.record("", normal, "ResizeStarted", "Pod resize started: generation %d", s.pod.Object.Generation)
	case s.verb == removeSandbox && s.uid == w.want.uid():
		l := lifeOf(w.want.pod.Object, &w.have, &w.mem, s.began)
		if _, ended := l.ended(); !ended {
			w.record("", normal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
		}
	}
}

// recordNotes makes an event of each note of the wanted pod that is new, and forgets those that are gone.
func (w *worker) recordNotes() {
	if len(w.have.Notes) == 0 && len(w.mem.noted) == 0 {
		return
	}
	noted := map[Note]bool{}
	for _, n := range w.have.Notes {
		if n.UID != w.want.uid() || noted[n] {
			continue
		}
		noted[n] = true
		if !w.mem.noted[n] {
			w.record(n.Container, warning, n.Reason, "%s", n.Message)
		}
	}
	w.mem.noted = noted
}

// killing is the kubelet's message for an instance that is told to end.
func (w *worker) killing(s *step) string {
	c := w.have.container(s.target)
	if c == nil || s.uid != w.want.uid() {
		return "Stopping container " + s.container
	}
	pod := w.want.pod.Object
	var probe string
	switch w.mem.mark(c).Ended {
	case EndedByLiveness:
		probe = "liveness"
	case EndedByStartup:
		probe = "startup"
	case EndedByHook:
		return reasonHookFailed
	case EndedByChange:
		return "Container " + s.container + " definition changed, will be restarted"
	default:
		return "Stopping container " + s.container
	}
	spec, r := named(pod, s.container)
	switch {
	case r == sidecarRole:
		return "Init container " + s.container + " failed " + probe + " probe"
	case spec != nil && policyOf(pod, spec) == v1.RestartPolicyNever:
		return "Container " + s.container + " failed " + probe + " probe"
	default:
		return "Container " + s.container + " failed " + probe + " probe, will be restarted"
	}
}

// report writes the log line of a step that ended, and records its events.
func (w *worker) report(s *step, r stepResult, now time.Time) {
	level := w.log.Info()
	switch {
	case r.err != nil:
		level = w.log.Warn().Err(r.err).Dur("retry", w.mem.failed[s.key()].retry.Sub(now))
	case s.verb == mark:
		level = w.log.Debug() // nothing changed in the world
	}
	if s.container != "" {
		level = level.Str("container", s.container).Int("attempt", s.attempt)
	}
	level.Stringer("verb", s.verb).Str("target", s.target).Str("why", s.why).Dur("took", now.Sub(s.began)).Msg(s.verb.String())
	if r.err != nil {
		w.recordFailure(s, r.err)
		return
	}
	switch s.verb {
	case pull:
		w.recordPulled(s, r.pulled, now)
	case resize:
		w.record("", normal, "ResizeCompleted", "Pod resize completed: generation %d", s.pod.Object.Generation)
	case start:
		w.record(s.container, normal, "Created", "Container created")
		w.record(s.container, normal, "Started", "Container started")
	}
}

func (w *worker) recordPulled(s *step, p PullResult, now time.Time) {
	if p.Note != "" {
		w.record(s.container, warning, "Failed", "%s", p.Note)
	}
	if !p.Pulled {
		w.record(s.container, normal, "Pulled", "Container image %q already present on machine", s.target)
		return
	}
	w.record(s.container, normal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
		s.target, p.Took.Round(time.Millisecond), now.Sub(s.began).Round(time.Millisecond), p.Bytes)
}

func (w *worker) recordFailure(s *step, err error) {
	reason := reasonOf(err)
	switch s.verb {
	case pull:
		switch reason {
		case reasonNeverPull:
			w.record(s.container, warning, reasonNeverPull, "Container image %q is not present with pull policy of Never", s.target)
		case reasonInvalidImage:
			w.record(s.container, warning, "InspectFailed", "Failed to apply default image tag %q: %v", s.target, err)
		default:
			w.record(s.container, warning, "Failed", "Failed to pull image %q: %v", s.target, err)
		}
		w.record(s.container, warning, "Failed", "Error: %s", orElse(reason, reasonErrPull))
	case ensureSandbox:
		if re := (*ReasonError)(nil); errors.As(err, &re) && re.Rejected {
			w.record("", warning, re.Reason, "%v", err)
			return
		}
		w.record("", warning, reasonSandboxFailed, "Failed to create pod sandbox: %v", err)
	case start:
		w.record(s.container, warning, "Failed", "Error: %v", err)
	case mark: // the next agent will have to find out for itself
	case resize:
		w.record("", warning, "ResizeError", "Pod resize error: %v", err)
	case refresh:
		w.record("", warning, "FailedMount", "MountVolume.SetUp failed: %v", err)
	case stop, removeSandbox:
		w.record(s.container, warning, "FailedKillPod", "error killing pod: %v", err)
	default:
		w.record(s.container, warning, "FailedSync", "%s: %v", s.verb, err)
	}
}

// reasonOf is the reason of a ReasonError in err, else empty.
func reasonOf(err error) string {
	if re := (*ReasonError)(nil); errors.As(err, &re) {
		return re.Reason
	}
	return ""
}

// orElse is s, or other when s is empty.
func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
