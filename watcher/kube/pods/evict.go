package pods

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// eviction is a pod that has to go for the node's sake although the API server wants it. It is guarded by Pods.mu.
type eviction struct {
	reason, message string
	at              metav1.Time
	// api is the version that the last object was made of, seen the status that the last report was made of.
	api, object  *v1.Pod
	seen, status *v1.PodStatus
}

// evictionGrace is how many seconds a pod has that a hard threshold takes away, as with the kubelet.
const evictionGrace = 1

// Evict has a pod of the API server taken down with hardly any grace, and reported as Failed for reason once nothing of it
// runs. The pod manager sees a pod that is being deleted; the object in the API stays, as with any pod that failed.
func (p *Pods) Evict(uid types.UID, reason, message string) {
	p.mu.Lock()
	if p.evicted[uid] == nil {
		p.evicted[uid] = &eviction{reason: reason, message: message, at: metav1.Now()}
	}
	p.mu.Unlock()
	p.source.now()
}

// wantedOf is the pod as the pod manager is to see it.
func (p *Pods) wantedOf(api *v1.Pod) *v1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.evicted[api.UID]
	if e == nil || api.DeletionTimestamp != nil && api.DeletionGracePeriodSeconds != nil && *api.DeletionGracePeriodSeconds <= evictionGrace {
		return api
	}
	if e.api != api {
		grace := int64(evictionGrace)
		o := *api
		o.DeletionTimestamp, o.DeletionGracePeriodSeconds = &e.at, &grace
		e.api, e.object = api, &o
	}
	return e.object
}

// evictedStatus is what is reported of a pod: its status, or, of an evicted one of which nothing runs any more, that it
// failed.
func (p *Pods) evictedStatus(uid types.UID, entry *Entry) *v1.PodStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.evicted[uid]
	if e == nil || !entry.Gone && !terminal(entry.Status.Phase) {
		return entry.Status
	}
	if e.seen != entry.Status {
		s := entry.Status.DeepCopy()
		s.Phase, s.Reason, s.Message = v1.PodFailed, e.reason, e.message
		c := v1.PodCondition{
			Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: v1.PodReasonTerminationByKubelet, Message: e.message,
			LastTransitionTime: e.at, ObservedGeneration: entry.Pod.Object.Generation,
		}
		s.Conditions = append(s.Conditions, c)
		e.seen, e.status = entry.Status, s
	}
	return e.status
}
