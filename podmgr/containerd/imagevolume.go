package containerd

import (
	"context"
	"fmt"
	"os"
	"slices"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr/volume"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// imageVolumeKey is the snapshot that a pod's image volume shows.
func imageVolumeKey(uid types.UID, name string) string { return "volume-" + string(uid) + "-" + name }

// imageVolumes makes the image volumes that the container mounts, each a read-only view of the image's root filesystem
// below the pod's other mounts, and adds their paths. Their images are here: they were pulled for this start.
func (x *starting) imageVolumes(ctx context.Context, dirs volume.Dirs, paths map[string]string) error {
	for i := range x.pod.Object.Spec.Volumes {
		v := &x.pod.Object.Spec.Volumes[i]
		mounts := func(m v1.VolumeMount) bool { return m.Name == v.Name }
		if v.Image == nil || !slices.ContainsFunc(x.c.VolumeMounts, mounts) {
			continue
		}
		dir := dirs.Mount(v.Name)
		if err := x.imageVolume(ctx, v, dir); err != nil {
			return fmt.Errorf("volume %q: %w", v.Name, err)
		}
		paths[v.Name] = dir
	}
	return nil
}

func (x *starting) imageVolume(ctx context.Context, v *v1.Volume, dir string) error {
	mounted, err := volume.IsMountPoint(dir)
	if err == nil && mounted {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating its mount point: %w", err)
	}
	img, err := x.r.images.forStart(ctx, v.Image.Reference)
	if err != nil {
		return err
	}
	s, key := x.r.client.SnapshotService(x.r.snapshotter), imageVolumeKey(x.pod.UID(), v.Name)
	mounts, err := s.View(ctx, key, img.chainID)
	if errdefs.IsAlreadyExists(err) {
		mounts, err = s.Mounts(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("preparing the image's files: %w", err)
	}
	if err := mount.All(mounts, dir); err != nil {
		return fmt.Errorf("mounting the image's files: %w", err)
	}
	return nil
}

// dropImageVolumes removes the snapshots of a pod's image volumes; they are unmounted.
func (r *Runtime) dropImageVolumes(ctx context.Context, k manifests.Key, uid types.UID) error {
	known, err := r.Recall(ctx, k, uid)
	if err != nil || known.Pod == nil {
		return err
	}
	for i := range known.Pod.Spec.Volumes {
		v := &known.Pod.Spec.Volumes[i]
		if v.Image == nil {
			continue
		}
		err := r.client.SnapshotService(r.snapshotter).Remove(r.ns(ctx), imageVolumeKey(uid, v.Name))
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing the files of image volume %q: %w", v.Name, err)
		}
	}
	return nil
}
