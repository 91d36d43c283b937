package containerd

import (
	"context"
	"fmt"

	"edgepod.dev/agent/manifests"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/types"
)

// leasedImage is a key of Runtime.leased.
type leasedImage struct {
	uid    types.UID
	target string
}

// withLease makes what is created under the returned context belong to the pod's lease, so that containerd's garbage
// collector never takes it before Forget deletes the lease. The pod's directory is there before the lease: by it the
// pod is known to have something to forget.
func (r *Runtime) withLease(ctx context.Context, p *manifests.Pod) (context.Context, error) {
	ctx = r.ns(ctx)
	uid := p.UID()
	if err := r.makePodDir(p); err != nil {
		return ctx, err
	}
	if _, known := r.leased.Load(uid); !known {
		_, err := r.client.LeasesService().Create(ctx, leases.WithID(leaseID(uid)), leases.WithLabels(map[string]string{labelPodUID: string(uid)}))
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return ctx, fmt.Errorf("creating the pod's lease: %w", err)
		}
		r.leased.Store(uid, struct{}{})
	}
	return leases.WithLease(ctx, leaseID(uid)), nil
}

// keepImage holds an image's content and root filesystem for a pod, even when somebody removes its name.
func (r *Runtime) keepImage(ctx context.Context, p *manifests.Pod, i *image) error {
	uid := p.UID()
	k := leasedImage{uid, i.target.String()}
	if _, known := r.leased.Load(k); known {
		return nil
	}
	if _, err := r.withLease(ctx, p); err != nil {
		return err
	}
	lease := leases.Lease{ID: leaseID(uid)}
	for _, res := range []leases.Resource{
		{ID: i.target.String(), Type: "content"},
		{ID: i.chainID, Type: "snapshots/" + r.snapshotter},
	} {
		if err := r.client.LeasesService().AddResource(ctx, lease, res); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("keeping image %s for the pod: %w", i.name, err)
		}
	}
	r.leased.Store(k, struct{}{})
	return nil
}

func (r *Runtime) dropLease(ctx context.Context, uid types.UID) error {
	r.leased.Range(func(k, _ any) bool {
		if img, ok := k.(leasedImage); k == any(uid) || ok && img.uid == uid {
			r.leased.Delete(k)
		}
		return true
	})
	if err := r.client.LeasesService().Delete(r.ns(ctx), leases.Lease{ID: leaseID(uid)}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting the pod's lease: %w", err)
	}
	return nil
}
