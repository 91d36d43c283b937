package podmgr

import (
	"context"
	"sync"
	"time"

	"edgepod.dev/agent/health"
	v1 "k8s.io/api/core/v1"
)

// probes are the groups of probes that a worker has running, one for each instance of which the spec has any. Owner: the
// worker; a group's goroutine is joined at the worker's end.
type probes struct {
	groups  map[string]*probing // container ID → its group
	running sync.WaitGroup
}

// probing is one group at work.
type probing struct {
	group  *health.Group
	podIP  string
	cancel context.CancelFunc
}

// probe has the probes of each instance run exactly as long as it does, and notes what they have found.
func (w *worker) probe(ctx context.Context, now time.Time) {
	for id, p := range w.probes.groups {
		c := w.have.container(id)
		if c == nil || c.State != Running {
			p.cancel()
			delete(w.probes.groups, id)
			continue
		}
		if _, told := w.mem.ending(c); told || c.UID != w.want.uid() {
			p.group.Terminate()
		}
	}
	uid := w.want.uid()
	for i := range w.have.Containers {
		c := &w.have.Containers[i]
		if p := w.probes.groups[c.ID]; p != nil {
			w.mem.verdict(c, p.group.State(), now)
		}
		if c.UID != uid || uid == "" || c.State != Running {
			continue
		}
		pod := w.want.pod.Object
		spec, r := named(pod, c.Name)
		if spec == nil || r == initRole || spec.StartupProbe == nil && spec.LivenessProbe == nil && spec.ReadinessProbe == nil {
			continue
		}
		m := w.mem.mark(c)
		if m.Ended != "" || postStartHook(spec) != nil && !m.Hooked {
			continue
		}
		ip := w.podIP(uid, pod.Spec.HostNetwork)
		if p := w.probes.groups[c.ID]; p != nil {
			if p.podIP == ip {
				continue
			}
			p.cancel() // the network was made again under it
		}
		w.startProbes(ctx, pod, spec, c, ip, now)
	}
}

// startProbes begins to probe an instance, on from where its mark says that its probes were.
func (w *worker) startProbes(ctx context.Context, pod *v1.Pod, spec *v1.Container, c *Container, ip string, now time.Time) {
	m := w.mem.mark(c)
	place := w.place(pod, spec, c.ID)
	period, err := health.PeriodOverride(pod.Annotations)
	if err != nil {
		w.record(c.Name, warning, "ProbeWarning", "%v", err)
	}
	place.Period = period
	name := c.Name
	group := health.NewGroup(health.GroupConfig{
		Startup:   health.FromV1(spec.StartupProbe, health.Startup, place),
		Liveness:  health.FromV1(spec.LivenessProbe, health.Liveness, place),
		Readiness: health.FromV1(spec.ReadinessProbe, health.Readiness, place),
		Started:   c.Started,
		Adopted:   w.mem.adopted(c) || w.probes.groups[c.ID] != nil,
		Was:       health.State{Started: m.Started, Ready: m.Ready, Alive: true},
		Changed:   w.hint,
		Hooks: health.Hooks{
			Observe: func(kind, result string, took time.Duration) {
				if w.hooks.Probed != nil {
					w.hooks.Probed(pod, name, kind, result, took)
				}
			},
			Trouble: func(kind health.Kind, r health.Result) {
				if reason, message := r.Event(kind); reason != "" {
					w.record(name, warning, reason, "%s", message)
				}
			},
		},
	})
	ctx, cancel := context.WithCancel(ctx)
	if w.probes.groups == nil {
		w.probes.groups = map[string]*probing{}
	}
	w.probes.groups[c.ID] = &probing{group: group, podIP: ip, cancel: cancel}
	w.mem.verdict(c, group.State(), now)
	w.probes.running.Go(func() { group.Run(ctx) })
}

// stop ends all probes; the caller waits for running.
func (p *probes) stop() {
	for id, g := range p.groups {
		g.cancel()
		delete(p.groups, id)
	}
}

// verdict notes what the probes of an instance have found.
func (m *memory) verdict(c *Container, s health.State, now time.Time) {
	mark := m.mark(c)
	mark.Started = s.Started
	if mark.Ready != s.Ready {
		mark.Ready, mark.Since = s.Ready, wall(now)
	}
	if !s.Alive && mark.Ended == "" {
		mark.Ended = EndCause(s.Reason)
	}
	m.setMark(c, mark)
}
