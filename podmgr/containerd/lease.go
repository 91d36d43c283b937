package containerd

import (
	"context"
	"fmt"
	"strings"

	"edgepod.dev/agent/manifests"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/types"
)

// leasedImage is a key of Runtime.leased; what it leads to is the digest that the name stood for.
type leasedImage struct {
	uid  types.UID
	name string
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
	k := leasedImage{uid, i.name}
	before, known := r.leased.Load(k)
	if before == i.target {
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
	r.leased.Store(k, i.target)
	if known { // a tag has moved: what it stood for must not fill the disk for as long as the pod lives
		return r.letGo(ctx, p, lease)
	}
	return nil
}

// letGo takes out of a pod's lease the images that none of its names stands for any more. What runs of them stays: a
// container's root filesystem holds those that it lies on.
func (r *Runtime) letGo(ctx context.Context, p *manifests.Pod, lease leases.Lease) error {
	refs := []string{r.cfg.PauseImage}
	for _, c := range manifests.Containers(p.Object) {
		refs = append(refs, c.Image)
	}
	for i := range p.Object.Spec.Volumes {
		if v := &p.Object.Spec.Volumes[i]; v.Image != nil {
			refs = append(refs, v.Image.Reference)
		}
	}
	stays := map[string]bool{}
	for _, ref := range refs {
		if ref == "" {
			continue
		}
		i, err := r.images.forStart(ctx, ref)
		if err != nil {
			return nil //nolint:nilerr // its name is gone, or was never here: nobody knows what it stood for
		}
		stays[i.target.String()], stays[i.chainID] = true, true
	}
	held, err := r.client.LeasesService().ListResources(ctx, lease)
	if err != nil {
		return fmt.Errorf("listing what the pod's lease holds: %w", err)
	}
	for _, res := range held {
		if stays[res.ID] || !strings.HasPrefix(res.ID, "sha256:") { // else a container's own
			continue
		}
		if err := r.client.LeasesService().DeleteResource(ctx, lease, res); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("letting go of image %s: %w", res.ID, err)
		}
	}
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
