package podmgr

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/types"
)

// Times of a worker.
const (
	relistMin      = 30 * time.Second // a look without a cause, in case a hint was lost
	relistJitter   = 15 * time.Second
	observeTimeout = 30 * time.Second
	observeRetry   = 100 * time.Millisecond // ×2 up to
	observeLimit   = 5 * time.Second
)

// worker brings one pod key to what is wanted. All fields below the channels belong to its goroutine.
type worker struct {
	key     manifests.Key
	runtime Runtime
	board   *Board
	node    node
	log     zerolog.Logger

	wants    chan want         // cap 1, latest wins; the manager is the only sender
	hints    chan struct{}     // cap 1; probes give them too
	restarts chan struct{}     // cap 1; a person wants the pod started anew
	images   chan struct{}     // cap 1; images came to the node by another way than a pull
	finished chan stepResult   // steps send, the worker always receives
	reports  chan<- workerNews // to the manager
	hooks    Hooks
	born     time.Time

	want   want
	have   Observed
	mem    memory
	plan   decision
	flight flight
	face   face
	probes probes
	// refused says that a start found no sandbox: the next one waits until the EnsureSandbox that goes on has ended.
	refused bool
	// failures counts failed looks in a row; known says that a look has succeeded once.
	failures int
	known    bool
}

// workerNews is what a worker tells the manager.
type workerNews struct {
	worker *worker
	ended  bool // else: it has observed its pod for the first time
}

// stepResult is the outcome of a step.
type stepResult struct {
	step   *step
	pulled PullResult
	err    error
}

// run works until nothing is wanted and nothing is left, or until ctx ends; then it joins its steps. The pod goes on.
func (w *worker) run(ctx context.Context) {
	defer w.join(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	w.drain(ctx)
	for {
		wait := w.look(ctx)
		if w.done() {
			w.board.Drop(w.key)
			w.tell(ctx, true)
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case wanted := <-w.wants:
			w.take(wanted)
		case <-w.hints:
		case <-w.restarts:
			w.restart()
		case <-w.images:
			w.mem.imagesCame()
		case r := <-w.finished:
			w.settle(ctx, r)
		case <-timer.C:
		}
		w.drain(ctx)
	}
}

// drain takes in everything that is there already, so that one look answers it all.
func (w *worker) drain(ctx context.Context) {
	for {
		select {
		case wanted := <-w.wants:
			w.take(wanted)
		case <-w.hints:
		case <-w.restarts:
			w.restart()
		case <-w.images:
			w.mem.imagesCame()
		case r := <-w.finished:
			w.settle(ctx, r)
		default:
			return
		}
	}
}

// done says whether the worker has nothing to do and nothing to watch.
func (w *worker) done() bool {
	return w.known && w.failures == 0 && w.want.pod == nil && w.have.empty() && len(w.flight) == 0
}

// look observes, plans, launches and posts once. It returns how long to wait at most before the next look. Without an
// observation there is no plan: unknown is not absent.
func (w *worker) look(ctx context.Context) (wait time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("looking after the pod panicked")
			wait = w.lookFailed()
		}
	}()
	began := time.Now()
	have, err := w.observe(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn().Err(err).Int("failures", w.failures+1).Msg("cannot see the pod; it is left as it is")
		}
		return w.lookFailed()
	}
	now := time.Now()
	w.have = have
	w.recordNotes()
	w.mem.wants(w.want)
	w.mem.sees(&w.have, now)
	if err := w.recall(ctx, now); err != nil {
		if ctx.Err() == nil {
			w.log.Warn().Err(err).Msg("cannot recall the pod; it is left as it is")
		}
		return w.lookFailed()
	}
	w.probe(ctx, now)
	w.replace()
	plan(w.want, &w.have, &w.mem, now, &w.plan)
	w.flight.supersede(w.want, &w.have, &w.plan, now)
	for i := range w.plan.actions {
		if a := &w.plan.actions[i]; w.flight.admits(a) && !(a.verb == start && w.refused && w.flight.has(ensureSandbox)) {
			w.launch(ctx, *a, now)
		}
	}
	w.failures = 0
	w.face.post(w, now)
	w.worked(began)
	if !w.known {
		w.known = true
		w.tell(ctx, false)
	}
	wait = relistMin + rand.N(relistJitter)
	if !w.plan.wake.IsZero() {
		wait = min(wait, max(w.plan.wake.Sub(now), time.Millisecond))
	}
	return wait
}

// worked tells of a look that began at began.
func (w *worker) worked(began time.Time) {
	operation := "sync"
	switch {
	case w.want.pod == nil:
		operation = "terminate"
	case !w.known:
		operation = "create"
		if w.hooks.Waited != nil {
			w.hooks.Waited(began.Sub(w.born))
		}
	}
	if w.hooks.Worked != nil {
		w.hooks.Worked(operation, time.Since(began))
	}
}

// observe asks the runtime, for no longer than observeTimeout.
func (w *worker) observe(ctx context.Context) (Observed, error) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	have, err := w.runtime.Observe(ctx, w.key)
	if err != nil {
		return Observed{}, fmt.Errorf("observing pod %s: %w", w.key, err)
	}
	return have, nil
}

// recall asks the runtime for what it keeps of pods that the worker has to deal with and does not know: the way down of one
// whose manifest is gone, the age of one that may not grow old.
func (w *worker) recall(ctx context.Context, now time.Time) error {
	for i := range w.have.Containers {
		if c := &w.have.Containers[i]; c.State == Running && w.mem.recalled[c.UID].pod == nil {
			if err := w.ask(ctx, c.UID, now); err != nil {
				return err
			}
		}
	}
	if uid := w.want.uid(); uid != "" && w.want.pod.Object.Spec.ActiveDeadlineSeconds != nil && w.have.hasAny(uid) {
		return w.ask(ctx, uid, now)
	}
	return nil
}

func (w *worker) ask(ctx context.Context, uid types.UID, now time.Time) error {
	known := w.mem.recalled[uid]
	if known.asked {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	r, err := w.runtime.Recall(ctx, w.key, uid)
	if err != nil {
		return fmt.Errorf("recalling pod %s: %w", w.key, err)
	}
	if known.pod == nil {
		known.pod = r.Pod
	}
	known.since, known.learnt, known.asked = r.Since, now, true
	w.mem.setRecalled(uid, known)
	return nil
}

// take takes over a new want.
func (w *worker) take(wanted want) {
	if wanted.uid() != "" && wanted.uid() == w.want.uid() && differs(wanted.pod, w.want.pod) {
		w.mem.changed()
	}
	if wanted.uid() != "" && wanted.uid() != w.want.uid() {
		for _, p := range wanted.pod.Warnings {
			w.record("", warning, "IgnoredField", "%s: %s", p.Field, p.Message)
		}
	}
	w.want = wanted
}

// differs says whether two versions of a pod under one UID carry different things to run it with. Those of an API server
// also differ by the status that it was told last, which must not end the back-off that the status tells of.
func differs(a, b *manifests.Pod) bool {
	return a != b && (a.Object.Generation != b.Object.Generation || !a.Bound.Equal(b.Bound) ||
		!maps.Equal(a.Object.Labels, b.Object.Labels) || !maps.Equal(a.Object.Annotations, b.Object.Annotations))
}

// restart has every container of the wanted pod started anew, whatever its restart policy and without back-off.
func (w *worker) restart() {
	uid := w.want.uid()
	if uid == "" {
		return
	}
	for i := range w.have.Containers {
		c := &w.have.Containers[i]
		if last, _ := w.have.newest(uid, c.Name); c.UID != uid || c != last || c.State == Created {
			continue
		}
		if _, r := named(w.want.pod.Object, c.Name); r == ephemeralRole {
			continue
		}
		m := w.mem.mark(c)
		m.Ended = EndedForRestart
		w.mem.setMark(c, m)
	}
	w.mem.changed()
	w.mem.imagesCame()
}

func (w *worker) lookFailed() time.Duration {
	w.failures++
	return double(observeRetry, observeLimit, w.failures)
}

// tell reports to the manager, which always listens until ctx ends.
func (w *worker) tell(ctx context.Context, ended bool) {
	select {
	case w.reports <- workerNews{worker: w, ended: ended}:
	case <-ctx.Done():
	}
}

// join cancels and awaits the steps.
func (w *worker) join(ctx context.Context) {
	for _, s := range w.flight {
		s.cancelled = true
		s.cancel()
	}
	w.probes.stop()
	for len(w.flight) > 0 {
		w.settle(ctx, <-w.finished)
	}
	w.probes.running.Wait()
}

// assign gives the worker a new want in place of one it has not taken yet. Only the manager calls it.
func (w *worker) assign(wanted want) {
	select {
	case <-w.wants:
	default:
	}
	w.wants <- wanted
}

// hint makes the worker look again soon.
func (w *worker) hint() { poke(w.hints) }

// poke leaves a word in a channel of capacity 1.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
