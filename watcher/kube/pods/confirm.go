package pods

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// confirm asks the API server for each pod that a list no longer had, until ctx ends. One that it does not know by name
// either is gone; but while it does not even know this node it has lost its memory, and the pods stay.
func (p *Pods) confirm(ctx context.Context, doubts poke) {
	for wait := time.Second; ; {
		if p.confirmAll(ctx) {
			wait = time.Second
			select {
			case <-doubts:
			case <-ctx.Done():
				return
			}
			continue
		}
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, retryMost)
	}
}

// confirmAll returns whether nothing is in doubt any more.
func (p *Pods) confirmAll(ctx context.Context) bool {
	doubts := p.set.doubtful()
	if len(doubts) == 0 {
		return true
	}
	if _, err := p.cfg.Client.CoreV1().Nodes().Get(ctx, p.cfg.NodeName, metav1.GetOptions{}); err != nil {
		if ctx.Err() == nil {
			p.cfg.Log.Warn().Err(err).Int("pods", len(doubts)).Msg("pods are missing in a list of the API server, and it does not answer for this node; they stay")
		}
		return false
	}
	all := true
	for k, uid := range doubts {
		pod, err := p.cfg.Client.CoreV1().Pods(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && (pod.UID != uid || pod.Spec.NodeName != p.cfg.NodeName):
			p.set.drop(k, uid)
		case err == nil: // the list was stale
			_ = p.set.Add(pod)
		default:
			all = false
		}
	}
	return all
}

// sleep waits and returns whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
