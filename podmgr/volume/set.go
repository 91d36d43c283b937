package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// Set is the volumes of one version of a pod.
type Set struct {
	Pod  *manifests.Pod
	Dirs Dirs
	// Facts are what volumes say of the node; addresses are not needed.
	Facts manifests.Facts
}

// Ensure makes every volume exist and returns the path of each by its name; image volumes, which are the engine's, are
// left out. What is in a volume stays, but for files made of documents, which become those of this version of the pod.
// The error is for a person to mend: it names the volume and what is missing.
func (s Set) Ensure(ctx context.Context) (paths map[string]string, err error) {
	paths = map[string]string{}
	for i := range s.Pod.Object.Spec.Volumes {
		v := &s.Pod.Object.Spec.Volumes[i]
		if v.Image != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if paths[v.Name], err = s.ensure(ctx, v); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// Refresh swaps in the files of this version of the pod where they differ, in every volume that was made before, each
// atomically. A volume whose object is missing keeps its files and is part of the error.
func (s Set) Refresh(ctx context.Context) error {
	var errs []error
	for i := range s.Pod.Object.Spec.Volumes {
		v := &s.Pod.Object.Spec.Volumes[i]
		if !manifests.VolumeHasFiles(v) {
			continue
		}
		if _, err := os.Lstat(s.Dirs.files(v.Name)); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.ensureFiles(v); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s Set) ensure(ctx context.Context, v *v1.Volume) (string, error) {
	if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
		return s.ensureClaim(ctx, v)
	}
	if kind, reason := manifests.VolumeRefusal(v); kind != "" {
		return "", refused(v, kind, reason)
	}
	switch {
	case v.EmptyDir != nil:
		return s.ensureEmptyDir(v)
	case v.HostPath != nil:
		return v.HostPath.Path, ensureHostPath(*v)
	case manifests.VolumeHasFiles(v):
		return s.ensureFiles(v)
	case v.NFS != nil:
		return s.ensureNFS(ctx, v)
	}
	return "", fmt.Errorf("volume %q: its type is not supported", v.Name)
}

// fsGroup is spec.securityContext.fsGroup, -1 when there is none.
func (s Set) fsGroup() int {
	if sc := s.Pod.Object.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}

// volume finds a volume of the pod by its name.
func (s Set) volume(name string) *v1.Volume {
	for i := range s.Pod.Object.Spec.Volumes {
		if v := &s.Pod.Object.Spec.Volumes[i]; v.Name == name {
			return v
		}
	}
	return nil
}
