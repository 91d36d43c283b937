package metrics

import (
	"context"
	"strconv"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

const (
	// followPause is how long changes of the board are gathered before one look answers them all.
	followPause = time.Second
	// followPoll is how often the board is looked at where nobody tells of its changes.
	followPoll = 10 * time.Second
)

// follower counts starts and ends of pods and containers from what the board shows, so that the pod manager need not tell
// them one by one. What was started or ended before the agent was is not counted: an agent that adopts its pods has
// started none. All fields belong to the goroutine in run.
type follower struct {
	recorder *Recorder
	tracer   *Tracer   // nil: none
	since    time.Time // when the agent was started
	pods     map[string]*followed
}

// followed is what was counted of one pod (by UID).
type followed struct {
	key        manifests.Key
	firstSeen  time.Time
	running    bool // has been
	started    bool // all containers have been
	containers map[string]*followedContainer
}

type followedContainer struct {
	started string // ID of the last instance whose start was counted
	restart int32  // its number
	ended   string // ID of the last instance whose end was counted
}

// run follows the board until ctx ends.
func (f *follower) run(ctx context.Context, pods func() []Pod, changed func() <-chan struct{}) error {
	for {
		var signal <-chan struct{}
		if changed != nil {
			signal = changed()
		}
		f.look(time.Now(), pods())
		select {
		case <-ctx.Done():
			return nil
		case <-signal:
		case <-time.After(followPoll):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
	}
}

// look counts what is new on the board.
func (f *follower) look(now time.Time, pods []Pod) {
	there := make(map[string]bool, len(pods))
	keys := make(map[manifests.Key]bool, len(pods))
	for i := range pods {
		p := &pods[i]
		uid := p.uid()
		keys[p.Key] = true
		if uid == "" || p.Status == nil {
			continue
		}
		there[uid] = true
		x := f.pods[uid]
		if x == nil {
			x = &followed{key: p.Key, firstSeen: now, containers: map[string]*followedContainer{}}
			if s := p.Status.StartTime; s != nil && s.After(f.since) {
				x.firstSeen = s.Time
			}
			f.pods[uid] = x
		}
		f.pod(x, p)
	}
	for uid, x := range f.pods {
		if !there[uid] {
			f.recorder.probes.forget(uid, x.key, !keys[x.key])
			delete(f.pods, uid)
		}
	}
}

func (f *follower) pod(x *followed, p *Pod) {
	eachContainer(p.Status, func(kind containerKind, c *v1.ContainerStatus) {
		k := x.containers[c.Name]
		if k == nil {
			k = &followedContainer{}
			x.containers[c.Name] = k
		}
		f.container(k, kind, c)
	})
	first, last, all := startTimes(p)
	if !x.running && !first.IsZero() {
		x.running = true
		if first.After(f.since) {
			f.recorder.starts.pods.Inc()
			f.recorder.podStart.Observe(max(0, first.Sub(x.firstSeen)).Seconds())
		}
	}
	if !x.started && all {
		x.started = true
		if first.After(f.since) {
			f.recorder.podStartTotal.Observe(max(0, last.Sub(x.firstSeen)).Seconds())
			f.tracer.podStarted(p, x.firstSeen, last)
		}
	}
}

// container counts the start and the end of a container's newest instances.
func (f *follower) container(k *followedContainer, kind containerKind, c *v1.ContainerStatus) {
	id, at := c.ContainerID, startedAt(c)
	if id != "" && id != k.started && !at.IsZero() {
		// Instances that came and went between two looks were started as well.
		n := int32(1)
		if k.started != "" {
			n = max(1, c.RestartCount-k.restart)
		}
		if at.After(f.since) {
			f.recorder.starts.containers.WithLabelValues(string(kind)).Add(float64(n))
		}
		k.started, k.restart = id, c.RestartCount
	}
	for _, t := range []*v1.ContainerStateTerminated{c.LastTerminationState.Terminated, c.State.Terminated} {
		if t == nil || t.ContainerID == "" || t.ContainerID == k.ended {
			continue
		}
		k.ended = t.ContainerID
		if t.FinishedAt.After(f.since) {
			f.recorder.starts.terminated.WithLabelValues(string(kind), strconv.Itoa(int(t.ExitCode)), t.Reason).Inc()
		}
	}
}

// startedAt is when the newest instance of a container was started, which may have ended already and wait to be started
// again; zero when none was.
func startedAt(c *v1.ContainerStatus) time.Time {
	switch {
	case c.State.Running != nil:
		return c.State.Running.StartedAt.Time
	case c.State.Terminated != nil:
		return c.State.Terminated.StartedAt.Time
	case c.LastTerminationState.Terminated != nil && c.LastTerminationState.Terminated.ContainerID == c.ContainerID:
		return c.LastTerminationState.Terminated.StartedAt.Time
	}
	return time.Time{}
}

// startTimes are when the first and the last of the pod's regular containers were started; all says that every one was.
func startTimes(p *Pod) (first, last time.Time, all bool) {
	all = len(p.Status.ContainerStatuses) > 0 && len(p.Status.ContainerStatuses) >= len(p.Object.Spec.Containers)
	for i := range p.Status.ContainerStatuses {
		at := startedAt(&p.Status.ContainerStatuses[i])
		if at.IsZero() {
			all = false
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last, all
}
