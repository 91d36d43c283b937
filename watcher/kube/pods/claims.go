package pods

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// claims resolves PersistentVolumeClaims to what is behind them. The Node authorizer allows to get claims and volumes,
// not to watch them; once bound they do not change.
type claims struct {
	client   kubernetes.Interface
	patience time.Duration
	changed  func()
	group    sync.WaitGroup

	mu   sync.Mutex // guards what follows and the claims' values
	held map[manifests.Key]*claim
}

type claim struct {
	since  time.Time
	cancel context.CancelFunc
	found  bool // what is behind it is known for good
	claim  manifests.Claim
}

func newClaims(client kubernetes.Interface, patience time.Duration, changed func()) *claims {
	return &claims{client: client, patience: patience, changed: changed, held: map[manifests.Key]*claim{}}
}

// want resolves exactly these claims from now on.
func (c *claims) want(ctx context.Context, keys map[manifests.Key]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, x := range c.held {
		if !keys[k] {
			if x.cancel != nil {
				x.cancel()
			}
			delete(c.held, k)
		}
	}
	for k := range keys {
		x := c.held[k]
		if x == nil {
			x = &claim{}
			c.held[k] = x
		}
		if x.cancel == nil {
			ctx, cancel := context.WithCancel(ctx)
			x.cancel, x.since = cancel, time.Now()
			c.group.Go(func() { c.resolve(ctx, k, x) })
		}
	}
}

// resolve asks for a claim until it is bound. One that an earlier agent knew stays what it was until there is an answer: its
// name may have gone to another claim since.
func (c *claims) resolve(ctx context.Context, k manifests.Key, x *claim) {
	for failures := 1; ; failures++ {
		found, err := c.get(ctx, k)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			found = manifests.Claim{Problem: err.Error()}
		}
		c.mu.Lock()
		same := true
		if err == nil || !x.found {
			same = x.claim == found
			x.claim, x.found = found, err == nil
		}
		c.mu.Unlock()
		if !same {
			c.changed()
		}
		if err == nil || !sleep(ctx, jittered(backOff(failures))) {
			return
		}
	}
}

// get is what is behind a claim now; an error says why that is not known yet.
func (c *claims) get(ctx context.Context, k manifests.Key) (manifests.Claim, error) {
	pvc, err := c.client.CoreV1().PersistentVolumeClaims(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return manifests.Claim{}, fmt.Errorf("persistentvolumeclaim %q not found", k.Name)
	case err != nil:
		return manifests.Claim{}, fmt.Errorf("error processing PVC %s: %w", k, err)
	case pvc.DeletionTimestamp != nil:
		return manifests.Claim{}, fmt.Errorf("error processing PVC %s: PVC is being deleted", k)
	case pvc.Status.Phase != v1.ClaimBound || pvc.Spec.VolumeName == "":
		return manifests.Claim{}, fmt.Errorf("error processing PVC %s: PVC is not bound", k)
	}
	pv, err := c.client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return manifests.Claim{}, fmt.Errorf("error processing PVC %s: failed to fetch PV %s: %w", k, pvc.Spec.VolumeName, err)
	}
	if r := pv.Spec.ClaimRef; r == nil || r.UID != pvc.UID {
		return manifests.Claim{}, fmt.Errorf("error processing PVC %s: PV %s is claimed by another one", k, pv.Name)
	}
	return storageOf(pvc, pv), nil
}

// storageOf says what a volume is to a pod.
func storageOf(pvc *v1.PersistentVolumeClaim, pv *v1.PersistentVolume) manifests.Claim {
	c := manifests.Claim{ReadOnly: onlyReads(pvc.Spec.AccessModes)}
	block := pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == v1.PersistentVolumeBlock
	switch s := &pv.Spec.PersistentVolumeSource; {
	case block:
		return manifests.Claim{Problem: fmt.Sprintf("volume %q is a raw block device, which the agent does not attach", pv.Name)}
	case s.HostPath != nil:
		c.HostPath = s.HostPath
	case s.Local != nil:
		c.Local = s.Local
	case s.NFS != nil:
		c.NFS = s.NFS
		c.ReadOnly = c.ReadOnly || s.NFS.ReadOnly
	case s.CSI != nil:
		return manifests.Claim{Problem: fmt.Sprintf("volume %q needs the CSI driver %s: the agent runs no storage drivers (hostPath, local and nfs volumes can be claimed)", pv.Name, s.CSI.Driver)}
	default:
		return manifests.Claim{Problem: fmt.Sprintf("volume %q is of a kind that the agent does not mount (hostPath, local and nfs volumes can be claimed)", pv.Name)}
	}
	return c
}

func onlyReads(modes []v1.PersistentVolumeAccessMode) bool {
	return len(modes) > 0 && !slices.ContainsFunc(modes, func(m v1.PersistentVolumeAccessMode) bool { return m != v1.ReadOnlyMany })
}

// of are the claims of a pod by volume, and whether the API server has said something about each by now.
func (c *claims) of(p *v1.Pod, now time.Time) (found map[string]manifests.Claim, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, known = map[string]manifests.Claim{}, true
	for volume, k := range claimsOf(p) {
		x := c.held[k]
		switch {
		case x == nil:
			known = false
		case x.claim != (manifests.Claim{}):
			found[volume] = x.claim
		case now.Sub(x.since) < c.patience:
			known = false
		default:
			found[volume] = manifests.Claim{Problem: fmt.Sprintf("error processing PVC %s: the API server has not answered yet", k)}
		}
	}
	return found, known
}

// keptClaim is a claim in the store.
type keptClaim struct {
	Key   manifests.Key
	Claim manifests.Claim
}

// preload takes claims that an earlier agent kept.
func (c *claims) preload(list []keptClaim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range list {
		c.held[k.Key] = &claim{found: true, claim: k.Claim}
	}
}

// keep lists the claims that are known for good.
func (c *claims) keep() []keptClaim {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []keptClaim
	for k, x := range c.held {
		if x.found {
			list = append(list, keptClaim{k, x.claim})
		}
	}
	slices.SortFunc(list, func(a, b keptClaim) int { return compareKeys(a.Key, b.Key) })
	return list
}

// claimsOf are the claims that a pod names, by volume; that of an ephemeral volume is named after the pod.
func claimsOf(p *v1.Pod) map[string]manifests.Key {
	found := map[string]manifests.Key{}
	for i := range p.Spec.Volumes {
		switch v := &p.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			found[v.Name] = manifests.Key{Namespace: p.Namespace, Name: v.PersistentVolumeClaim.ClaimName}
		case v.Ephemeral != nil:
			found[v.Name] = manifests.Key{Namespace: p.Namespace, Name: p.Name + "-" + v.Name}
		}
	}
	return found
}
