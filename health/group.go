package health

import (
	"context"
	"sync"
	"time"
)

// Probing is one probe of a container with everything resolved: when to ask, and how.
type Probing struct {
	Spec Spec
	Try  Try
}

// State is what the probes of a container instance have found, as its status shows it.
type State struct {
	// Started is true when the startup probe has succeeded, or there is none.
	Started bool
	// Ready is true when Started and the readiness probe's verdict is success, or there is none.
	Ready bool
	// Alive turns false, once and for all, when the liveness or startup probe has failed: the container is to be killed.
	Alive bool
	// Reason is the probe because of which the container is not alive or not ready; empty when it is both.
	Reason Kind
	// Message is what that probe said; empty when it has not come to a verdict yet.
	Message string
}

// GroupConfig describes the probes of one container instance.
type GroupConfig struct {
	Startup, Liveness, Readiness *Probing // nil: none
	// Started is when the container started.
	Started time.Time
	// Adopted says that the agent found the container running; Was is then what the agent before it knew: a container that
	// had started is not asked again whether it has, and stays ready until its probe says otherwise.
	Adopted bool
	Was     State
	// Changed is called after State has changed; it may be called too often, and must not block.
	Changed func()
	Hooks   Hooks
}

// Group runs the probes of one container instance.
type Group struct {
	config GroupConfig

	mu          sync.Mutex
	state       State              // guarded by mu
	terminating bool               // guarded by mu
	stop        context.CancelFunc // guarded by mu; ends startup and liveness, nil before Run
}

// NewGroup returns the group of c; its State holds from now on.
func NewGroup(c GroupConfig) *Group {
	g := &Group{config: c, state: State{Alive: true}}
	if c.Startup != nil && !(c.Adopted && c.Was.Started) {
		g.state.Reason = Startup
		return g
	}
	g.state.start(c.Readiness == nil || (c.Adopted && c.Was.Ready))
	return g
}

// start is the state of a container that has just started.
func (s *State) start(ready bool) {
	s.Started, s.Ready, s.Reason, s.Message = true, ready, "", ""
	if !ready {
		s.Reason = Readiness
	}
}

// State is what the probes have found so far.
func (g *Group) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

// Terminate ends startup and liveness probes, because the container is being stopped and may be slow to answer. Readiness
// goes on, so that a server that drains shows it, until Run's ctx ends.
func (g *Group) Terminate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.terminating = true
	if g.stop != nil {
		g.stop()
	}
}

// Run probes until ctx ends, which is to be when the container has, or nothing is left to probe. It uses the caller's
// goroutine and starts at most one more.
func (g *Group) Run(ctx context.Context) {
	brief, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	g.stop = cancel
	if g.terminating {
		cancel()
	}
	g.mu.Unlock()

	if !g.State().Started {
		g.probe(g.config.Startup, "").Run(brief)
	}
	if !g.State().Started {
		return // it failed, or there is no more time to start
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if g.config.Liveness != nil {
		p := g.probe(g.config.Liveness, "")
		if g.config.Readiness == nil {
			p.Run(brief)
			return
		}
		wg.Go(func() { p.Run(brief) })
	}
	if g.config.Readiness != nil {
		initial := Failure
		if g.State().Ready {
			initial = Success
		}
		g.probe(g.config.Readiness, initial).Run(ctx)
	}
}

// probe returns one of the probes, ready to run.
func (g *Group) probe(p *Probing, initial Outcome) *Probe {
	return &Probe{
		Spec: p.Spec, Try: p.Try, Started: g.config.Started, Adopted: g.config.Adopted,
		Initial: initial, Verdict: g.judge, Hooks: g.config.Hooks,
	}
}

// judge makes state of a verdict.
func (g *Group) judge(v Verdict) {
	g.mu.Lock()
	before := g.state
	s := &g.state
	switch {
	case v.Kind == Startup && v.OK:
		s.start(g.config.Readiness == nil)
	case v.Kind == Readiness:
		s.Ready = v.OK
		if s.Alive && v.OK {
			s.Reason, s.Message = "", ""
		} else if s.Alive {
			s.Reason, s.Message = v.Kind, v.Message
		}
	case !v.OK && !g.terminating: // a verdict that crossed Terminate kills nothing
		s.Alive, s.Reason, s.Message = false, v.Kind, v.Message
	}
	changed := *s != before
	g.mu.Unlock()
	if changed && g.config.Changed != nil {
		g.config.Changed()
	}
}
