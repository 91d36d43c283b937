package pods

import (
	"context"
	"strconv"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

const (
	reportWorkers = 4
	callTimeout   = 30 * time.Second

	// reasonClash is the reason of a pod that a pod of a file keeps from running.
	reasonClash = "NameClash"
)

// reporter tells the API server how the pods are. There is at most one report in wait for each pod, always the newest.
type reporter struct {
	*Pods
	queue workqueue.TypedDelayingInterface[types.UID]

	mu    sync.Mutex // guards what follows
	state map[types.UID]*reportState
	count int // of the API server's returns, when reports were last gathered
}

// reportState is what the reporter knows of one pod.
type reportState struct {
	key   manifests.Key
	want  report
	began metav1.Time
	// told is the report that the API server was last told, at this version of the pod; zero: none.
	told    report
	version string
	// there is the pod as the last patch left it: a watch may be behind.
	there    *v1.Pod
	failures int
	retry    time.Time
}

// Report tells the API server about the pods on the board until ctx ends: statuses, mirror pods and events.
func (p *Pods) Report(ctx context.Context) error {
	r := &reporter{Pods: p, queue: workqueue.NewTypedDelayingQueue[types.UID](), state: map[types.UID]*reportState{}}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { r.gatherAll(ctx); return nil })
	for range reportWorkers {
		g.Go(func() error { r.work(ctx); return nil })
	}
	g.Go(func() error { (&mirrors{Pods: p, trouble: map[manifests.Key]trouble{}}).run(ctx); return nil })
	g.Go(func() error { newEventSink(p).run(ctx); return nil })
	return g.Wait()
}

// gatherAll looks at the board and the pods of the API server whenever one of them changes.
func (r *reporter) gatherAll(ctx context.Context) {
	defer r.queue.ShutDown()
	for {
		changed := r.cfg.Changed()
		r.gather(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-r.reports:
		}
	}
}

// gather finds what there is to report and queues what the API server has not been told.
func (r *reporter) gather(now time.Time) {
	entries := r.cfg.Entries()
	byUID, byKey := make(map[types.UID]*Entry, len(entries)), make(map[manifests.Key]*Entry, len(entries))
	for i := range entries {
		e := &entries[i]
		byKey[e.Key] = e
		if e.Pod != nil {
			byUID[e.Pod.UID()] = e
		}
	}
	all, _, _ := r.set.all()
	count, away := r.set.returns()
	r.mu.Lock()
	defer r.mu.Unlock()
	back := count != r.count
	r.count = count
	there := make(map[types.UID]bool, len(all))
	for _, pod := range all {
		there[pod.UID] = true
		want, ok := r.reportOn(pod, byUID, byKey)
		if !ok {
			continue
		}
		s := r.state[pod.UID]
		if s == nil {
			s = &reportState{key: keyOf(pod), began: metav1.NewTime(now)}
			r.state[pod.UID] = s
		}
		want.began = s.began
		s.want = want
		if s.told == want && s.version == pod.ResourceVersion {
			continue
		}
		if back {
			s.failures, s.retry = 0, time.Time{}
		}
		if !away && !now.Before(s.retry) { // while it is away, its return is waited for
			r.queue.Add(pod.UID)
		}
	}
	for uid := range r.state {
		if !there[uid] {
			delete(r.state, uid)
		}
	}
}

// reportOn is what there is to say of a pod of the API server; ok is false while there is nothing.
func (r *reporter) reportOn(pod *v1.Pod, byUID map[types.UID]*Entry, byKey map[manifests.Key]*Entry) (want report, ok bool) {
	if isMirror(pod) {
		return r.reportOnMirror(pod, byUID)
	}
	if e := byUID[pod.UID]; e != nil {
		return report{status: r.evictedStatus(pod.UID, e), generation: e.Pod.Object.Generation, gone: e.Gone}, true
	}
	r.Pods.mu.Lock()
	status := r.rejected[pod.UID]
	r.Pods.mu.Unlock()
	deleting := pod.DeletionTimestamp != nil
	if status != nil {
		return report{status: status, generation: pod.Generation, gone: deleting}, true
	}
	e := byKey[keyOf(pod)]
	switch {
	case e == nil || e.Pod == nil || e.Source == r.Name():
		return report{}, false
	case deleting: // a pod of a file has the name, and nothing of this one is left
		return report{gone: true}, true
	case e.Deleted:
		return report{}, false
	}
	return report{status: r.clash(pod, e), generation: pod.Generation}, true
}

// clash is the status of a pod whose name a pod of a file has on this node. The caller holds r.mu.
func (r *reporter) clash(pod *v1.Pod, e *Entry) *v1.PodStatus {
	s := r.state[pod.UID]
	message := "The node runs a pod of this name from " + e.Pod.Origin.String() + ", which has precedence"
	if s != nil && s.want.status != nil && s.want.status.Message == message {
		return s.want.status
	}
	no := func(t v1.PodConditionType) v1.PodCondition {
		return v1.PodCondition{Type: t, Status: v1.ConditionFalse, Reason: reasonClash, LastTransitionTime: metav1.Now()}
	}
	return &v1.PodStatus{
		Phase: pod.Status.Phase, Reason: reasonClash, Message: message,
		Conditions: []v1.PodCondition{no(v1.PodReady), no(v1.ContainersReady)},
	}
}

// reportOnMirror is what there is to say of a mirror pod: the status of the pod of the file.
func (r *reporter) reportOnMirror(pod *v1.Pod, byUID map[types.UID]*Entry) (report, bool) {
	e := byUID[types.UID(pod.Annotations[annotationMirror])]
	if e == nil || e.Source == r.Name() {
		return report{}, false
	}
	return report{status: e.Status, generation: pod.Generation}, true
}

func (r *reporter) work(ctx context.Context) {
	for {
		uid, down := r.queue.Get()
		if down {
			return
		}
		if ctx.Err() == nil {
			r.tell(ctx, uid)
		}
		r.queue.Done(uid)
	}
}

// tell brings the API server up to the newest report of one pod.
func (r *reporter) tell(ctx context.Context, uid types.UID) {
	r.mu.Lock()
	s := r.state[uid]
	if s == nil {
		r.mu.Unlock()
		return
	}
	want, there := s.want, newer(s.there, r.set.byKey(s.key))
	done := there != nil && s.told == want && s.version == there.ResourceVersion // queued again by its own echo
	r.mu.Unlock()
	if done {
		return
	}
	if _, away := r.set.returns(); away || there == nil || there.UID != uid {
		return
	}
	after, err := r.send(ctx, there, want)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		s.failures++
		wait := jittered(backOff(s.failures + 2))
		s.retry = time.Now().Add(wait)
		if ctx.Err() == nil && s.failures == 1 {
			r.cfg.Log.Warn().Err(err).Stringer("pod", s.key).Dur("retry", wait).Msg("cannot report the status of a pod")
		}
		r.queue.AddAfter(uid, wait)
		return
	}
	s.failures, s.retry = 0, time.Time{}
	s.told, s.there, s.version = want, after, after.ResourceVersion
}

// send patches the status where it differs, and removes a pod of which nothing is left.
func (r *reporter) send(ctx context.Context, there *v1.Pod, want report) (*v1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pods := r.cfg.Client.CoreV1().Pods(there.Namespace)
	patch, changed, err := statusPatch(there, mergeStatus(there, want))
	if err != nil {
		return nil, err
	}
	if changed {
		after, err := pods.Patch(ctx, there.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // it is gone, or another one has its name
			return there, nil
		case err != nil:
			return nil, err
		}
		there = trimmed(after)
	}
	if !want.gone || there.DeletionTimestamp == nil || isMirror(there) {
		return there, nil
	}
	err = pods.Delete(ctx, there.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(there.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return nil, err
	}
	return there, nil
}

// newer is the later version of a pod; the watch's when they cannot be compared.
func newer(patched, watched *v1.Pod) *v1.Pod {
	if patched == nil || watched == nil || patched.UID != watched.UID {
		return watched
	}
	a, errA := strconv.ParseUint(patched.ResourceVersion, 10, 64)
	b, errB := strconv.ParseUint(watched.ResourceVersion, 10, 64)
	if errA == nil && errB == nil && a > b {
		return patched
	}
	return watched
}
