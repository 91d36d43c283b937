package podmgr

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

// plan decides what has to be done to get from have to w, at once and in any order, and writes it to d. It is pure: no
// I/O, no clock, no logger. Actions that are already going on are in d again; the worker leaves those out.
func plan(w want, have *Observed, mem *memory, now time.Time, d *decision) {
	d.reset()
	p := planner{d: d, want: w}
	p.have, p.mem, p.now = have, mem, now
	othersLeft := p.others()
	if w.uid() == "" {
		return
	}
	p.life = lifeOf(w.pod.Object, have, mem, now)
	p.wanted(!othersLeft)
	if len(d.actions) == 0 {
		p.prune()
	}
}

// planner carries the arguments of one plan, and how far the wanted pod has come.
type planner struct {
	life
	d    *decision
	want want
}

func (p *planner) add(a action) { p.d.add(a, p.mem, p.now) }

// wanted brings the wanted pod on its way. Until alone, only its images may be fetched.
func (p *planner) wanted(alone bool) {
	sealed := p.sealEnded()
	p.dropStrays()
	p.keepMarks()
	if why, ended := p.ended(); ended {
		if p.evict(why) {
			return
		}
		p.dropUnstarted(true)
		if !p.end(why) && p.sb != nil && sealed && !p.have.lives(p.pod.UID) {
			p.add(action{verb: removeSandbox, uid: p.pod.UID, target: p.sb.ID, why: why})
		}
		return
	}
	if d := p.deadline(); !d.IsZero() {
		p.d.wakeAt(d)
	}
	if p.endPast() {
		return
	}
	lost := alone && p.sandbox(sealed)
	if alone {
		p.dropUnstarted(false)
	}
	if !lost {
		p.refresh()
		p.resize()
		p.tend()
	}
	p.containers(alone)
}

// sealEnded seals what has ended, and says whether there is nothing left to seal.
func (p *planner) sealEnded() bool {
	all := true
	for i := range p.have.Containers {
		c := &p.have.Containers[i]
		if c.UID == p.pod.UID && c.State.Ended() && !c.Sealed {
			all = false
			p.add(action{verb: seal, uid: c.UID, target: c.ID, container: c.Name, attempt: c.Attempt, why: "it has ended"})
		}
	}
	return all
}

// dropStrays takes down what is of the wanted UID but can not be meant: containers that the spec does not name, and
// running instances beside a newer one.
func (p *planner) dropStrays() {
	for i := range p.have.Containers {
		c := &p.have.Containers[i]
		if c.UID != p.pod.UID {
			continue
		}
		last, _ := p.have.newest(c.UID, c.Name)
		switch {
		case index(p.pod, c.Name) < 0:
			if !c.State.Ended() || c.Sealed {
				p.drop(c, "the pod has no such container")
			}
		case c != last && c.State == Running:
			p.drop(c, "a newer instance exists")
		}
	}
}

// dropUnstarted removes instances that were created for a sandbox that is gone, or all that were created only.
func (p *planner) dropUnstarted(all bool) {
	for i := range p.have.Containers {
		c := &p.have.Containers[i]
		if c.UID != p.pod.UID || c.State != Created || index(p.pod, c.Name) < 0 {
			continue
		}
		switch {
		case all:
			p.drop(c, "the pod has come to its end")
		case outlived(c, p.sb):
			p.drop(c, "it was created for a sandbox that is gone")
		case p.outdated(c):
			p.drop(c, "its definition has changed")
		}
	}
}

// outdated says whether an instance of the wanted pod was made from another definition than its container has now.
func (p *planner) outdated(c *Container) bool {
	spec, _ := named(p.pod, c.Name)
	return outdated(spec, c)
}

// keepMarks has what was found out about the instances kept with them.
func (p *planner) keepMarks() {
	for i := range p.have.Containers {
		c := &p.have.Containers[i]
		if c.UID != p.pod.UID {
			continue
		}
		if m, due := p.mem.unwritten(c); due {
			p.add(action{
				verb: mark, uid: c.UID, target: c.ID, container: c.Name, attempt: c.Attempt, mark: m,
				why: "more is known of it",
			})
		}
	}
}

// sandbox makes the sandbox ready. One that lost its namespaces goes first, with what still lives in it: then lost is
// true.
func (p *planner) sandbox(sealed bool) (lost bool) {
	uid := p.pod.UID
	switch {
	case p.sb == nil:
		p.add(action{verb: ensureSandbox, uid: uid, why: "the pod has no sandbox"})
	case p.sb.State == SandboxRepair:
		p.add(action{verb: ensureSandbox, uid: uid, why: "the sandbox lost its pause or network"})
	case p.sb.State == SandboxLost:
		if !p.end("its sandbox is lost") && sealed && !p.have.lives(uid) {
			p.add(action{verb: removeSandbox, uid: uid, target: p.sb.ID, why: "the sandbox lost its namespaces"})
		}
		return true
	}
	return false
}

// refresh brings mounted volumes up to what the wanted pod carries.
func (p *planner) refresh() {
	if p.mem.stale(p.want.pod) && p.have.hasContainers(p.pod.UID) {
		p.add(action{verb: refresh, uid: p.pod.UID, why: "the data of its volumes has changed"})
	}
}

// tend looks after what runs: hooks that are due after the start, and instances that have to end.
func (p *planner) tend() {
	for i := range size(p.pod) {
		spec, _ := nth(p.pod, i)
		c := p.last(spec)
		if c == nil || c.State != Running {
			continue
		}
		m := p.mem.mark(c)
		_, told := p.mem.ending(c)
		switch {
		case m.Ended == EndedByLiveness:
			p.stop(c, graceOf(spec.LivenessProbe, c), "its liveness probe has failed")
		case m.Ended == EndedByStartup:
			p.stop(c, graceOf(spec.StartupProbe, c), "its startup probe has failed")
		case m.Ended == EndedByHook:
			p.stop(c, c.Grace, "its postStart hook has failed")
		case m.Ended == EndedByChange:
			p.stop(c, c.Grace, "its definition has changed")
		case told:
			p.stop(c, c.Grace, "it was told to end already") // before the pod was wanted again
		case postStartHook(spec) != nil && !m.Hooked:
			p.add(action{
				verb: postStart, uid: c.UID, target: c.ID, container: c.Name, attempt: c.Attempt, why: "it was started",
			})
		}
	}
}

// graceOf is how long a container may take to end that a probe has given up.
func graceOf(probe *v1.Probe, c *Container) time.Duration {
	if probe != nil && probe.TerminationGracePeriodSeconds != nil {
		return time.Duration(*probe.TerminationGracePeriodSeconds) * time.Second
	}
	return c.Grace
}

// containers starts what is due: the init containers one after the other, then the main containers together.
func (p *planner) containers(alone bool) {
	for i := range p.pod.Spec.EphemeralContainers {
		p.container(ephemeral(p.pod, i), ephemeralRole, alone) // first: they help when an init container does not succeed
	}
	initialized, reached := p.initialized(), p.reached()
	for i := range p.pod.Spec.InitContainers {
		spec := &p.pod.Spec.InitContainers[i]
		r := initKind(spec)
		done := initialized || i < reached || p.initDone(spec, r)
		if !done || r == sidecarRole {
			p.container(spec, r, alone)
		}
		if !done {
			return
		}
	}
	for i := range p.pod.Spec.Containers {
		p.container(&p.pod.Spec.Containers[i], mainRole, alone)
	}
}

// container starts one container when it has to be started and everything it needs is there, and fetches its image
// meanwhile.
func (p *planner) container(spec *v1.Container, r role, alone bool) {
	uid := p.pod.UID
	last := p.last(spec)
	n := p.nextStart(spec, r, last)
	if !n.needed {
		return
	}
	cutOff := last != nil && last.State == Created
	if cutOff && (outlived(last, p.sb) || outdated(spec, last)) {
		return // it has to go first
	}
	if n.until.After(p.now) {
		p.d.wakeAt(n.until)
		return
	}
	_, failedBefore := p.mem.failed[stepKey{verb: start, uid: uid, target: spec.Name}]
	missing := !p.mem.hasImage(spec.Name, n.attempt) && (!cutOff || failedBefore)
	if missing {
		p.pull(spec, spec.Image, PullPolicy(spec.ImagePullPolicy))
	}
	if p.pullVolumes(spec) || missing {
		return
	}
	if !alone || !p.sandboxComes() || (last != nil && !cutOff && !last.Sealed) ||
		p.have.runs(uid, spec.Name) {
		return
	}
	p.add(action{
		verb: start, uid: uid, target: spec.Name, container: spec.Name, attempt: n.attempt, backoff: n.backoff,
		why: startReason(last),
	})
}

// sandboxComes says whether the sandbox is there or is being made or mended: a start prepares its container meanwhile.
func (p *planner) sandboxComes() bool {
	return p.sb != nil && p.sb.State == SandboxReady || p.d.has(ensureSandbox)
}

// pull fetches an image for a container, once per reference.
func (p *planner) pull(spec *v1.Container, image string, policy PullPolicy) {
	uid := p.pod.UID
	if f, failed := p.mem.failed[stepKey{verb: pull, uid: uid, target: image}]; failed {
		if shown := f.at.Add(errShown); shown.After(p.now) {
			p.d.wakeAt(shown) // the status turns from ErrImagePull to ImagePullBackOff
		}
	}
	if p.d.pulls(image) {
		return
	}
	why := "a container needs its image"
	if image != spec.Image {
		why = "a volume needs its image"
	}
	p.add(action{verb: pull, uid: uid, target: image, container: spec.Name, policy: policy, why: why})
}

func startReason(last *Container) string {
	switch {
	case last == nil:
		return "it was never started"
	case last.State == Created:
		return "its start was cut off"
	case last.State == Unknown:
		return "it vanished"
	default:
		return fmt.Sprintf("it exited with code %d", last.ExitCode)
	}
}

// prune removes instances that neither are the current one nor its predecessor that ran. It has the lowest priority: it
// runs only when there is nothing else to do.
func (p *planner) prune() {
	for i := range p.have.Containers {
		c := &p.have.Containers[i]
		if c.UID != p.pod.UID || c.State == Running {
			continue
		}
		if last, before := p.have.newest(c.UID, c.Name); c != last && (c != before || !c.State.Ended()) {
			p.drop(c, "newer instances exist")
		}
	}
}
