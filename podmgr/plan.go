package podmgr

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// plan decides what has to be done to get from have to w, at once and in any order, and writes it to d. It is pure: no
// I/O, no clock, no logger. Actions that are already going on are in d again; the worker leaves those out.
func plan(w want, have *Observed, mem *memory, now time.Time, d *decision) {
	d.reset()
	p := planner{have: have, mem: mem, now: now, d: d}
	othersLeft := p.others(w)
	if w.uid() == "" {
		return
	}
	p.pod = w.pod.Object
	p.sb = have.sandbox(p.pod.UID)
	p.wanted(!othersLeft)
	if len(d.actions) == 0 {
		p.prune()
	}
}

// planner carries the arguments of one plan.
type planner struct {
	have *Observed
	mem  *memory
	now  time.Time
	d    *decision
	pod  *v1.Pod  // the wanted pod
	sb   *Sandbox // its sandbox, or nil
}

func (p *planner) add(a action) { p.d.add(a, p.mem, p.now) }

// others takes down everything that is not of the wanted UID: stop, remove, remove the sandbox, forget. It returns
// whether anything of it is left; as long as it is, nothing of the wanted pod may come into being.
func (p *planner) others(w want) (left bool) {
	keep := w.uid()
	why := "no longer wanted"
	if keep != "" {
		why = "another version of the pod is wanted"
	}
	for i := range p.have.Containers {
		c := &p.have.Containers[i]
		if keeps(keep, c.UID) {
			continue
		}
		left = true
		if !w.hold {
			p.drop(c, stopGrace(w, c), why)
		}
	}
	for i := range p.have.Sandboxes {
		s := &p.have.Sandboxes[i]
		if keeps(keep, s.UID) {
			continue
		}
		left = true
		if !w.hold && !p.have.hasContainers(s.UID) {
			p.add(action{verb: removeSandbox, uid: s.UID, target: s.ID, why: why})
		}
	}
	for _, uid := range p.have.Remains {
		if keeps(keep, uid) {
			continue
		}
		left = true
		if !w.hold && !p.have.hasContainers(uid) && p.have.sandbox(uid) == nil {
			p.add(action{verb: forget, uid: uid, why: why})
		}
	}
	return left
}

// keeps says whether an object with a UID is of the wanted pod; nothing is, not even one that lost its UID, when none is
// wanted.
func keeps(keep, uid types.UID) bool { return keep != "" && uid == keep }

// drop stops a running container and removes any other.
func (p *planner) drop(c *Container, grace time.Duration, why string) {
	a := action{verb: remove, uid: c.UID, target: c.ID, container: c.Name, attempt: c.Attempt, why: why}
	if c.State == Running {
		a.verb, a.grace = stop, grace
	}
	p.add(a)
}

// stopGrace is how long a container may take to end: what it was created with, or less when the API server says so.
func stopGrace(w want, c *Container) time.Duration {
	if w.pod != nil && w.pod.UID() == c.UID && w.pod.Object.DeletionGracePeriodSeconds != nil {
		return min(c.Grace, time.Duration(*w.pod.Object.DeletionGracePeriodSeconds)*time.Second)
	}
	return c.Grace
}

// wanted brings the wanted pod on its way. Until alone, only its images may be fetched.
func (p *planner) wanted(alone bool) {
	sealed := p.sealEnded()
	p.dropStrays()
	if completed(p.pod, p.have) {
		if p.sb != nil && sealed {
			p.add(action{verb: removeSandbox, uid: p.pod.UID, target: p.sb.ID, why: "the pod has completed"})
		}
		return
	}
	if alone {
		p.sandbox(sealed)
	}
	for i := range p.pod.Spec.Containers {
		p.container(&p.pod.Spec.Containers[i], alone)
	}
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
		case !names(p.pod, c.Name):
			if !c.State.Ended() || c.Sealed {
				p.drop(c, c.Grace, "the pod has no such container")
			}
		case c != last && c.State == Running:
			p.drop(c, c.Grace, "a newer instance exists")
		}
	}
}

// sandbox makes the sandbox ready. One that lost its namespaces goes first, with what still lives in it.
func (p *planner) sandbox(sealed bool) {
	uid := p.pod.UID
	switch {
	case p.sb == nil:
		p.add(action{verb: ensureSandbox, uid: uid, why: "the pod has no sandbox"})
	case p.sb.State == SandboxRepair:
		p.add(action{verb: ensureSandbox, uid: uid, why: "the sandbox lost its pause or network"})
	case p.sb.State == SandboxLost:
		busy := false
		for i := range p.have.Containers {
			c := &p.have.Containers[i]
			if c.UID == uid && !c.State.Ended() {
				busy = true
				if c.State == Running && names(p.pod, c.Name) {
					p.drop(c, c.Grace, "its sandbox is lost")
				}
			}
		}
		if sealed && !busy {
			p.add(action{verb: removeSandbox, uid: uid, target: p.sb.ID, why: "the sandbox lost its namespaces"})
		}
	}
}

// container starts one container when it has to be started and everything it needs is there, and fetches its image
// meanwhile.
func (p *planner) container(spec *v1.Container, alone bool) {
	uid := p.pod.UID
	last, _ := p.have.newest(uid, spec.Name)
	n := nextStart(p.pod.Spec.RestartPolicy, spec.Name, last, p.sb, p.mem)
	if !n.needed {
		return
	}
	cutOff := last != nil && last.State == Created
	if cutOff && outlived(last, p.sb) {
		if alone {
			p.drop(last, 0, "it was created for a sandbox that is gone")
		}
		return
	}
	if n.until.After(p.now) {
		p.d.wakeAt(n.until)
		return
	}
	_, failedBefore := p.mem.failed[stepKey{verb: start, uid: uid, target: spec.Name}]
	if !p.mem.hasImage(spec.Name, n.attempt) && (!cutOff || failedBefore) {
		p.pull(spec, n.attempt)
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

// pull fetches the image of a container, once per reference.
func (p *planner) pull(spec *v1.Container, attempt int) {
	uid := p.pod.UID
	if f, failed := p.mem.failed[stepKey{verb: pull, uid: uid, target: spec.Image}]; failed {
		if shown := f.at.Add(errShown); shown.After(p.now) {
			p.d.wakeAt(shown) // the status turns from ErrImagePull to ImagePullBackOff
		}
	}
	if p.d.pulls(spec.Image) {
		return
	}
	p.add(action{
		verb: pull, uid: uid, target: spec.Image, container: spec.Name,
		policy: PullPolicy(spec.ImagePullPolicy), why: "a container needs its image",
	})
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
			p.drop(c, 0, "newer instances exist")
		}
	}
}

// completed says whether every container of the pod has ended for good.
func completed(pod *v1.Pod, have *Observed) bool {
	for i := range pod.Spec.Containers {
		name := pod.Spec.Containers[i].Name
		last, _ := have.newest(pod.UID, name)
		if last == nil || !last.State.Ended() || restarts(pod.Spec.RestartPolicy, last) || have.runs(pod.UID, name) {
			return false
		}
	}
	return true
}

// names says whether the pod has a container of that name.
func names(pod *v1.Pod, container string) bool {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == container {
			return true
		}
	}
	return false
}
