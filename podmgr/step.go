package podmgr

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
)

// stepTimeout bounds a step beside a pull, which the runtime bounds by its progress, and beside a stop's grace.
const stepTimeout = 2 * time.Minute

// pullAnnounced is how long a pull may take before an event says that it is going on.
const pullAnnounced = 300 * time.Millisecond

// launch begins a step. Its goroutine ends by sending its result.
func (w *worker) launch(ctx context.Context, a action, now time.Time) {
	var cancel context.CancelFunc
	if a.verb == pull {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithTimeout(ctx, stepTimeout+a.grace)
	}
	s := &step{action: a, began: now, cancel: cancel}
	w.flight = append(w.flight, s)
	w.announce(s)
	pod := w.want.pod
	go func() {
		r := stepResult{step: s}
		r.pulled, r.err = w.carryOut(ctx, s, pod)
		w.finished <- r
	}()
}

// carryOut calls the runtime. The pod is the wanted one; the verbs that create are only planned for its UID.
func (w *worker) carryOut(ctx context.Context, s *step, pod *manifests.Pod) (r PullResult, err error) {
	defer recovered(w.log, &err)
	switch s.verb {
	case pull:
		return w.pull(ctx, s, pod)
	case ensureSandbox:
		err = w.runtime.EnsureSandbox(ctx, pod)
	case start:
		err = w.runtime.Start(ctx, pod, Instance{Container: s.container, Attempt: s.attempt, Backoff: s.backoff})
	case stop:
		err = w.runtime.Stop(ctx, s.target, s.grace)
	case seal:
		err = w.runtime.Seal(ctx, s.target)
	case remove:
		err = w.runtime.Remove(ctx, s.target)
	case removeSandbox:
		err = w.runtime.RemoveSandbox(ctx, s.target)
	case forget:
		err = w.runtime.Forget(ctx, w.key, s.uid)
	}
	return r, err
}

// pull fetches an image, and says so when that takes a while.
func (w *worker) pull(ctx context.Context, s *step, pod *manifests.Pod) (PullResult, error) {
	announced := make(chan struct{})
	timer := time.AfterFunc(pullAnnounced, func() {
		defer close(announced)
		w.record(s.container, normal, "Pulling", "Pulling image %q", s.target)
	})
	r, err := w.runtime.Pull(ctx, pod, s.target, s.policy)
	if !timer.Stop() {
		<-announced
	} else if r.Pulled {
		w.record(s.container, normal, "Pulling", "Pulling image %q", s.target)
	}
	return r, err
}

// recovered makes a panic an error of the function that defers it, and logs its stack: a bug met in one pod stops no
// other.
func recovered(log zerolog.Logger, err *error) {
	if p := recover(); p != nil {
		log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("a panic was caught")
		*err = fmt.Errorf("panic: %v", p)
	}
}

// settle takes in the outcome of a step.
func (w *worker) settle(ctx context.Context, r stepResult) {
	s := r.step
	s.cancel()
	w.flight = slices.DeleteFunc(w.flight, func(o *step) bool { return o == s })
	noSandbox := s.verb == start && reasonOf(r.err) == ReasonNoSandbox
	if noSandbox {
		w.refused = true // the sandbox's failure has its own step
	}
	if s.verb == ensureSandbox {
		w.refused = false
	}
	if r.err != nil && (s.cancelled || ctx.Err() != nil || noSandbox) {
		w.log.Debug().Stringer("verb", s.verb).Str("container", s.container).Err(r.err).Msg("step cancelled")
		return
	}
	now := time.Now()
	w.mem.settle(s.action, r.err, now)
	if r.err == nil && s.verb == pull {
		w.imageIsHere(s)
	}
	w.report(s, r, now)
}

// imageIsHere notes a pull for every container that waits for the same image under the same policy.
func (w *worker) imageIsHere(s *step) {
	if w.want.uid() != s.uid {
		return
	}
	pod := w.want.pod.Object
	sb := w.have.sandbox(s.uid)
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if c.Image != s.target || PullPolicy(c.ImagePullPolicy) != s.policy {
			continue
		}
		last, _ := w.have.newest(s.uid, c.Name)
		if n := nextStart(pod.Spec.RestartPolicy, c.Name, last, sb, &w.mem); n.needed {
			w.mem.pulledFor(c.Name, n.attempt)
		}
	}
}
