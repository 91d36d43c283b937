package podmgr

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"edgepod.dev/agent/health"
	"github.com/rs/zerolog"
)

// stepTimeout bounds a step beside a pull, which the runtime bounds by its progress, and beside a stop's grace.
const stepTimeout = 2 * time.Minute

// pullAnnounced is how long a pull may take before an event says that it is going on.
const pullAnnounced = 300 * time.Millisecond

// launch begins a step. Its goroutine ends by sending its result.
func (w *worker) launch(ctx context.Context, a action, now time.Time) {
	var cancel context.CancelFunc
	switch a.verb {
	case pull, postStart: // bounded by its progress; not at all, as with the kubelet
		ctx, cancel = context.WithCancel(ctx)
	case preStop:
		ctx, cancel = context.WithTimeout(ctx, a.grace)
	default:
		ctx, cancel = context.WithTimeout(ctx, stepTimeout+a.grace)
	}
	s := &step{action: a, pod: w.want.pod, began: now, cancel: cancel}
	if a.verb == postStart || a.verb == preStop {
		w.hook(s)
	}
	if a.verb == start && !w.have.hasContainers(a.uid) {
		w.mem.shown = s.pod // the first start makes the volumes
	}
	w.flight = append(w.flight, s)
	w.announce(s, w.mem.launches(&a, now))
	go func() {
		r := stepResult{step: s}
		r.pulled, r.err = w.carryOut(ctx, s)
		w.finished <- r
	}()
}

// carryOut calls the runtime. The step's pod is the wanted one; the verbs that create are only planned for its UID.
func (w *worker) carryOut(ctx context.Context, s *step) (r PullResult, err error) {
	defer recovered(w.log, &err)
	switch s.verb {
	case pull:
		return w.pull(ctx, s)
	case ensureSandbox:
		err = w.runtime.EnsureSandbox(ctx, s.pod)
	case start:
		err = w.runtime.Start(ctx, s.pod, Instance{Container: s.container, Attempt: s.attempt, Backoff: s.backoff})
	case postStart, preStop:
		err = health.Handle(ctx, s.hook, s.place)
	case mark:
		err = w.runtime.Mark(ctx, s.target, s.mark)
	case refresh:
		err = w.runtime.Refresh(ctx, s.pod)
	case resize:
		err = w.runtime.Resize(ctx, s.pod, s.containers)
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
func (w *worker) pull(ctx context.Context, s *step) (PullResult, error) {
	announced := make(chan struct{})
	timer := time.AfterFunc(pullAnnounced, func() {
		defer close(announced)
		w.record(s.container, normal, "Pulling", "Pulling image %q", s.target)
	})
	r, err := w.runtime.Pull(ctx, s.pod, s.target, s.policy)
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
	if s.verb == postStart || s.verb == preStop {
		w.hooked(s, r.err, now)
		return
	}
	w.mem.settle(s.action, r.err, now)
	if r.err == nil {
		w.succeeded(s)
	}
	w.report(s, r, now)
}

// succeeded draws the consequences of a step that succeeded.
func (w *worker) succeeded(s *step) {
	switch s.verb {
	case pull:
		w.imageIsHere(s)
	case mark:
		if w.have.container(s.target) != nil {
			w.mem.note(s.target).written = s.mark
		}
	case refresh:
		w.mem.shown = s.pod
	case start:
		if s.uid == w.want.uid() && s.pod != w.want.pod {
			w.mem.shown = s.pod // it may have written the data of before over newer data
		}
	}
}

// imageIsHere notes a pull for every container that waits for the same image under the same policy.
func (w *worker) imageIsHere(s *step) {
	if w.want.uid() != s.uid {
		return
	}
	l := lifeOf(w.want.pod.Object, &w.have, &w.mem, time.Now())
	w.mem.volumesHaveImage(l.pod, s.target, s.policy)
	for i := range sizeAll(l.pod) {
		c, r := nth(l.pod, i)
		if c.Image != s.target || PullPolicy(c.ImagePullPolicy) != s.policy {
			continue
		}
		if n := l.nextStart(c, r, l.last(c)); n.needed {
			w.mem.pulledFor(c.Name, n.attempt)
		}
	}
}
