package podmgr

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// minGrace is what a container has at least between the stop signal and the kill, as with the kubelet, however much of
// its grace period its preStop hook or the wait for its turn took. A grace period of 0 is none at all.
const minGrace = 2 * time.Second

// others takes down everything that is not of the wanted UID: stop, remove, remove the sandbox, forget. It returns
// whether anything of it is left; as long as it is, nothing of the wanted pod may come into being.
func (p *planner) others() (left bool) {
	keep := p.want.uid()
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
		if !p.want.hold {
			p.takeDown(c, why)
		}
	}
	for i := range p.have.Sandboxes {
		s := &p.have.Sandboxes[i]
		if keeps(keep, s.UID) {
			continue
		}
		left = true
		if !p.want.hold && !p.have.hasContainers(s.UID) {
			p.add(action{verb: removeSandbox, uid: s.UID, target: s.ID, why: why})
		}
	}
	for _, uid := range p.have.Remains {
		if keeps(keep, uid) {
			continue
		}
		left = true
		if !p.want.hold && !p.have.hasContainers(uid) && p.have.sandbox(uid) == nil {
			p.add(action{verb: forget, uid: uid, why: why})
		}
	}
	return left
}

// keeps says whether an object with a UID is of the wanted pod; nothing is, not even one that lost its UID, when none is
// wanted.
func keeps(keep, uid types.UID) bool { return keep != "" && uid == keep }

// drop stops a running container by itself and removes any other.
func (p *planner) drop(c *Container, why string) {
	if c.State == Running {
		p.stop(c, c.Grace, why)
		return
	}
	p.add(action{verb: remove, uid: c.UID, target: c.ID, container: c.Name, attempt: c.Attempt, why: why})
}

// takeDown is drop for a container whose whole pod goes.
func (p *planner) takeDown(c *Container, why string) {
	if c.State == Running {
		p.stopInTurn(c, why)
		return
	}
	p.drop(c, why)
}

// end stops everything of the wanted pod that runs, and says whether anything does.
func (p *planner) end(why string) (runs bool) {
	for i := range p.have.Containers {
		if c := &p.have.Containers[i]; p.isLive(c) {
			runs = true
			p.stopInTurn(c, why)
		}
	}
	return runs
}

// endPast stops what runs of the time before the pod began anew, and says whether anything does. Until it is gone nothing
// starts.
func (p *planner) endPast() (runs bool) {
	for i := range p.have.Containers {
		if c := &p.have.Containers[i]; p.isLive(c) && p.past(c) {
			runs = true
			p.stopInTurn(c, "the pod begins anew")
		}
	}
	return runs
}

// isLive says whether an instance is the running one of a container of the wanted pod; dropStrays has the others.
func (p *planner) isLive(c *Container) bool {
	if c.UID != p.pod.UID || c.State != Running || index(p.pod, c.Name) < 0 {
		return false
	}
	last, _ := p.have.newest(c.UID, c.Name)
	return c == last
}

// stop ends one running container: its preStop hook, then the stop signal, both within grace.
func (p *planner) stop(c *Container, grace time.Duration, why string) {
	left := grace
	if until, told := p.mem.ending(c); told {
		left = min(left, until.Sub(p.now))
	}
	if p.preStop(c, left, why) {
		return
	}
	p.stopNow(c, grace, left, why)
}

// stopInTurn is stop for a container whose whole pod ends: one grace period for all, in which a sidecar waits for the
// main containers and for the sidecars that were started after it. Its preStop hook does not wait, as with the kubelet.
func (p *planner) stopInTurn(c *Container, why string) {
	grace := p.podGrace(c)
	left := grace
	if until, told := p.mem.down[c.UID]; told {
		left = min(left, until.Sub(p.now))
	}
	n := len(p.d.actions)
	if p.preStop(c, left, why) {
		p.ofAll(n)
		return
	}
	if left > 0 && !p.turn(c) {
		p.d.wakeAt(p.now.Add(left))
		return
	}
	p.stopNow(c, grace, left, why)
	p.ofAll(n)
}

// ofAll says of the action added after n that it is part of the end of a whole pod.
func (p *planner) ofAll(n int) {
	if len(p.d.actions) > n {
		p.d.actions[n].all = true
	}
}

// preStop runs the preStop hook of a container while there is time, and says whether it is still to be waited for.
func (p *planner) preStop(c *Container, left time.Duration, why string) bool {
	if left <= 0 || p.mem.preStopped(c) {
		return false
	}
	pod := p.podOf(c.UID)
	if pod == nil {
		return false
	}
	if spec, _ := named(pod, c.Name); preStopHook(spec) == nil {
		return false
	}
	p.add(action{
		verb: preStop, uid: c.UID, target: c.ID, container: c.Name, attempt: c.Attempt, grace: left, budget: left, why: why,
	})
	return true
}

func (p *planner) stopNow(c *Container, grace, left time.Duration, why string) {
	budget, least := left, minGrace
	if grace <= 0 {
		least = 0
	}
	p.add(action{
		verb: stop, uid: c.UID, target: c.ID, container: c.Name, attempt: c.Attempt,
		grace: max(left, least), budget: budget, why: why,
	})
}

// turn says whether everything that has to end before a container of a pod has ended.
func (p *planner) turn(c *Container) bool {
	pod := p.podOf(c.UID)
	if pod == nil {
		return true
	}
	i := index(pod, c.Name)
	if i < 0 {
		return true
	}
	if _, r := nth(pod, i); r != sidecarRole {
		return true
	}
	for j := range p.have.Containers {
		o := &p.have.Containers[j]
		if o.UID != c.UID || o.State != Running {
			continue
		}
		if after := index(pod, o.Name); after > i && after < size(pod) {
			return false
		}
	}
	return true
}

// podOf is the pod of a UID as far as it is known, else nil.
func (p *planner) podOf(uid types.UID) *v1.Pod {
	if p.want.pod != nil && p.want.pod.UID() == uid {
		return p.want.pod.Object
	}
	return p.mem.recalled[uid].pod
}

// podGrace is how long a pod may take to end: what its containers were created with, or what the API server says, which
// may be more. Once the time runs it only gets shorter.
func (p *planner) podGrace(c *Container) time.Duration {
	if pod := p.want.pod; pod != nil && pod.UID() == c.UID && pod.Object.DeletionGracePeriodSeconds != nil {
		return time.Duration(*pod.Object.DeletionGracePeriodSeconds) * time.Second
	}
	if p.have.eviction(c.UID) != "" {
		return min(c.Grace, evictGrace)
	}
	return c.Grace
}
