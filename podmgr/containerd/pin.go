package containerd

import (
	"context"
	"fmt"

	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"edgepod.dev/agent/podmgr"
)

// labelPinned on an image record is by what containerd's CRI plugin and the kubelet know an image that stays.
const labelPinned = "io.cri-containerd.pinned"

// Pin implements podmgr.Images.
func (x *Images) Pin(ctx context.Context, ref string, pinned bool) error {
	ctx = x.r.ns(ctx)
	name, err := normalise(ref)
	if err != nil {
		return err
	}
	img := ctrimages.Image{Name: name, Labels: map[string]string{labelPinned: ""}}
	if pinned {
		img.Labels[labelPinned] = "pinned"
	}
	_, err = x.r.client.ImageService().Update(ctx, img, "labels."+labelPinned)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("pinning image %q: %w", ref, podmgr.ErrNoImage)
	}
	if err != nil {
		return fmt.Errorf("pinning image %q: %w", ref, err)
	}
	return nil
}

// pinOf is the label of an image that a person pinned: a pull writes the record anew, labels too.
func (x *images) pinOf(ctx context.Context, name string) map[string]string {
	if img, err := x.client.ImageService().Get(ctx, name); err == nil && img.Labels[labelPinned] != "" {
		return map[string]string{labelPinned: img.Labels[labelPinned]}
	}
	return nil
}
