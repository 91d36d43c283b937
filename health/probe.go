package health

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// maxTries is how often a question is asked in one turn when it cannot be asked, as in the kubelet.
	maxTries = 3
	// overtime is how long after its timeout a try may take to return before we go on without it.
	overtime = time.Second
)

// Verdict is what a probe has come to think of its container.
type Verdict struct {
	Kind    Kind
	OK      bool
	Message string // of the result that decided it
}

// Hooks are told what probes do. They are called from the goroutines of the probes and must not block. Nil is fine.
type Hooks struct {
	// Observe is told every result: the kind and the outcome as the kubelet's labels, and how long it took.
	Observe func(kind, result string, took time.Duration)
	// Trouble is told every result that is not plain success, for the events of the pod.
	Trouble func(Kind, Result)
}

// Probe asks one question of one container instance again and again. Set its fields, then call Run once.
type Probe struct {
	Spec Spec
	Try  Try
	// Started is when the container started: InitialDelay counts from it.
	Started time.Time
	// Adopted says that the agent found the container running: the first probe is spread over a period, so that an agent
	// that starts does not ask everything at once.
	Adopted bool
	// Initial replaces the outcome presumed before thresholds are first reached (liveness Success, readiness Failure,
	// startup Unknown): the readiness before the agent restarted.
	Initial Outcome
	// Verdict is called when the verdict differs from the one before, and when the first failure confirms a presumed one.
	// It must not block.
	Verdict func(Verdict)
	Hooks   Hooks

	slept func() time.Duration // suspended, or a test's
}

// Run probes until ctx ends, a liveness probe has failed or a startup probe has come to either end. It returns when the
// try that it last began has. A try that does not return after its timeout counts as a failure in each period, delays
// nothing else, and no other begins beside it.
func (p *Probe) Run(ctx context.Context) {
	l := p.loop()
	timer := time.NewTimer(time.Until(l.due))
	defer timer.Stop()
	for !l.ended {
		select {
		case <-ctx.Done():
			l.ended = true
		case r := <-l.done:
			l.returned(ctx, r)
		case <-timer.C:
			switch {
			case ctx.Err() != nil: // select picks either when both are ready
				l.ended = true
			case l.running():
				l.overdue()
			default:
				l.tick(ctx)
			}
		}
		timer.Reset(time.Until(l.due))
	}
	if l.running() {
		l.cancel()
		<-l.done
	}
}

// loop is the state of Run; its goroutine owns it.
type loop struct {
	*Probe
	window  window
	verdict Outcome // last told, or presumed
	told    bool    // a failure was told, not presumed

	next  time.Time // when the running or next probe was to begin; the ticks stay a period apart from it
	fresh bool      // next is the first of a row of ticks: those after it are aligned
	due   time.Time // when the timer is to fire next
	slept time.Duration
	ended bool

	done   chan Result // of the running try; nil when none runs
	cancel context.CancelFunc
	begun  time.Time
	late   bool // the running try is past its time, and was counted
}

func (p *Probe) loop() *loop {
	p.Spec = p.Spec.withDefaults()
	if p.slept == nil {
		p.slept = suspended
	}
	l := &loop{Probe: p, verdict: p.Spec.Kind.initial(), slept: p.slept(), fresh: true}
	if p.Initial != "" {
		l.verdict = p.Initial
	}
	now := time.Now()
	l.next = p.Started.Add(p.Spec.InitialDelay)
	if p.Adopted && l.next.Before(now) {
		l.next = p.Spec.align(now.Add(time.Duration(rand.Float64() * float64(p.Spec.Period))))
	} else if p.Started.After(now) || p.Started.IsZero() { // a clock that was set back
		l.next = now.Add(p.Spec.InitialDelay)
	} else if l.next.Before(now) {
		l.next = now
	}
	l.due = l.next
	return l
}

func (l *loop) running() bool { return l.done != nil }

// tick begins a try.
func (l *loop) tick(ctx context.Context) {
	if l.away() && l.Spec.Kind != Readiness {
		// The container has slept too, or starved: it gets the time of a start. Readiness is asked at once.
		l.next = time.Now().Add(max(l.Spec.InitialDelay, l.Spec.Period))
		l.due = l.next
		return
	}
	tryCtx, cancel := context.WithTimeout(ctx, l.Spec.Timeout)
	done := make(chan Result, 1)
	go func() { done <- ask(tryCtx, l.Try) }()
	l.done, l.cancel, l.begun, l.late = done, cancel, time.Now(), false
	l.due = l.begun.Add(l.Spec.Timeout + overtime)
}

// ask tries up to three times to get an answer. A panic in a try is an answer that could not be had: hostile input must
// not end the agent.
func ask(ctx context.Context, try Try) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = result(Unknown, fmt.Sprintf("panic: %v", p))
		}
	}()
	for range maxTries {
		if r = try(ctx); r.Outcome != Unknown || ctx.Err() != nil {
			break
		}
	}
	return r
}

// returned takes the result of the running try and plans the next.
func (l *loop) returned(ctx context.Context, r Result) {
	l.cancel()
	l.done = nil
	if ctx.Err() != nil {
		return // it failed because we left
	}
	if away := l.away(); !l.late && (!away || r.passed()) {
		l.judge(r)
	}
	l.plan()
}

// overdue counts a try that has not returned long after its time, now and in each period.
func (l *loop) overdue() {
	l.late = true
	if !l.away() {
		l.judge(result(Failure, fmt.Sprintf("probe has not returned for %s, its timeout is %s",
			time.Since(l.begun).Round(time.Millisecond), l.Spec.Timeout)))
	}
	l.due = time.Now().Add(l.Spec.Period)
}

// plan sets the next tick: a period after the last one was due, however long the try took. Of the ticks that were missed
// only one is made up for, at once.
func (l *loop) plan() {
	l.next = l.next.Add(l.Spec.Period)
	if l.fresh {
		l.next, l.fresh = l.Spec.align(l.next), false
	}
	if behind := time.Since(l.next); behind > 0 {
		l.next = l.next.Add(behind.Truncate(l.Spec.Period))
	}
	l.due = l.next
	if now := time.Now(); l.due.Before(now) {
		l.due = now // making up is not being late
	}
}

// away says whether we were stopped or the machine slept since the last look, and then restarts the count: what was not
// asked on time says nothing about the container (fault F4).
func (l *loop) away() bool {
	slept := l.Probe.slept()
	gone := time.Since(l.due) > l.Spec.gap() || slept-l.slept > l.Spec.gap()
	l.slept = slept
	if gone {
		l.window = window{}
		l.next, l.fresh = time.Now(), true
	}
	return gone
}

// judge counts a result and tells the verdict when it changes.
func (l *loop) judge(r Result) {
	if l.Hooks.Observe != nil {
		l.Hooks.Observe(string(l.Spec.Kind), r.Outcome.Metric(), time.Since(l.begun))
	}
	if l.Hooks.Trouble != nil && r.Outcome != Success {
		l.Hooks.Trouble(l.Spec.Kind, r)
	}
	if !l.window.add(l.Spec, r) {
		return
	}
	outcome := Failure
	if r.passed() {
		outcome = Success
	}
	if outcome != l.verdict || (outcome == Failure && !l.told) {
		l.verdict, l.told = outcome, outcome == Failure
		if l.Probe.Verdict != nil {
			l.Probe.Verdict(Verdict{l.Spec.Kind, r.passed(), r.Message})
		}
	}
	l.ended = l.Spec.Kind == Startup || (l.Spec.Kind == Liveness && outcome == Failure)
}
