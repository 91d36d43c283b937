package pods

import (
	"context"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// decide admits the pods that are new, in the order of their creation.
func (r *run) decide(ctx context.Context) {
	var fresh []*wanted
	var beside []*v1.Pod
	statuses := map[types.UID]*v1.PodStatus{}
	for _, e := range r.cfg.Entries() {
		if e.Pod == nil {
			continue
		}
		statuses[e.Pod.UID()] = e.Status
		if e.Source != r.Name() && !e.Deleted {
			beside = append(beside, e.Pod.Object)
		}
	}
	for uid, w := range r.known {
		s := statuses[uid]
		switch {
		case !w.decided:
			fresh = append(fresh, w)
		case w.run && !terminal(w.api.Status.Phase) && (s == nil || !terminal(s.Phase)):
			beside = append(beside, w.api)
		}
	}
	slices.SortFunc(fresh, func(a, b *wanted) int {
		if c := a.api.CreationTimestamp.Compare(b.api.CreationTimestamp.Time); c != 0 {
			return c
		}
		return compareKeys(keyOf(a.api), keyOf(b.api))
	})
	slices.SortStableFunc(fresh, func(a, b *wanted) int { return precedence(a) - precedence(b) })
	for _, w := range fresh {
		w.decided = true
		switch {
		case terminal(w.api.Status.Phase) && !ran(&w.api.Status):
			r.settle(w.api.UID, &w.api.Status)
		case acknowledged(w.api) || w.api.DeletionTimestamp != nil:
			w.run = true
		default:
			no := r.admit(ctx, w.api, beside)
			if no == nil {
				no = unsafe(w.api)
			}
			if no != nil {
				r.refuse(w.api, no)
				continue
			}
			w.run = true
			r.warn(w.api)
		}
		if w.run && !terminal(w.api.Status.Phase) {
			beside = append(beside, w.api)
		}
	}
}

// precedence puts pods that were admitted before first: what runs keeps its place.
func precedence(w *wanted) int {
	if acknowledged(w.api) {
		return 0
	}
	return 1
}

// acknowledged says whether a node agent has taken the pod on already.
func acknowledged(p *v1.Pod) bool { return p.Status.StartTime != nil }

// ran says whether any container of a pod ever existed.
func ran(s *v1.PodStatus) bool {
	has := func(c v1.ContainerStatus) bool { return c.ContainerID != "" }
	return slices.ContainsFunc(s.ContainerStatuses, has) || slices.ContainsFunc(s.InitContainerStatuses, has)
}

func terminal(phase v1.PodPhase) bool { return phase == v1.PodSucceeded || phase == v1.PodFailed }

// admit asks for the node again when its labels, as known, do not suit the pod: they may be new.
func (r *run) admit(ctx context.Context, pod *v1.Pod, others []*v1.Pod) *refusal {
	no := admit(pod, r.cfg.Node(), others)
	if no == nil || no.Reason != reasonAffinity {
		return no
	}
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	node, err := r.cfg.Client.CoreV1().Nodes().Get(ctx, r.cfg.NodeName, metav1.GetOptions{})
	if err != nil {
		return no
	}
	return admit(pod, node, others)
}

// refuse keeps a pod out of the snapshot for good; the reporter says so.
func (r *run) refuse(pod *v1.Pod, no *refusal) {
	r.cfg.Log.Warn().Stringer("pod", keyOf(pod)).Str("reason", no.Reason).Msg(no.Message)
	r.record(pod, no.Reason, no.Message)
	r.settle(pod.UID, &v1.PodStatus{
		Phase: v1.PodFailed, Reason: no.Reason, Message: "Pod was rejected: " + no.Message, QOSClass: pod.Status.QOSClass,
	})
}

// warn says which fields of a pod have no effect here.
func (r *run) warn(pod *v1.Pod) {
	if paths := manifests.Unsupported(pod); len(paths) > 0 {
		r.record(pod, "UnsupportedField", "The agent does not support "+strings.Join(paths, ", ")+": without effect")
	}
}

// unsafe refuses a pod with a field that confines it and that the agent does not know: it would run with more rights than
// it asked for.
func unsafe(pod *v1.Pod) *refusal {
	apart := pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers
	for _, path := range manifests.Unsupported(pod) {
		confines := strings.Contains(path, "securityContext") && !strings.HasSuffix(path, ".procMount") && !strings.Contains(path, ".windowsOptions")
		if confines || path == "spec.hostUsers" && apart || strings.Contains(path, "apparmor") {
			return &refusal{"UnsupportedField", "The agent does not support " + path}
		}
	}
	return nil
}

func (r *run) record(pod *v1.Pod, reason, message string) {
	if r.cfg.Record != nil {
		r.cfg.Record(Event{Pod: keyOf(pod), Type: v1.EventTypeWarning, Reason: reason, Message: message})
	}
}

// settle sets the status of a pod that is not run; nil forgets it.
func (p *Pods) settle(uid types.UID, s *v1.PodStatus) {
	p.mu.Lock()
	if s == nil {
		delete(p.rejected, uid)
	} else {
		p.rejected[uid] = s
	}
	p.mu.Unlock()
	p.reports.now()
}
