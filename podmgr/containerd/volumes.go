package containerd

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/volume"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// volumeDirs is where the volumes of a pod lie.
func (r *Runtime) volumeDirs(uid types.UID) volume.Dirs {
	return volume.Dirs{Disk: filepath.Join(r.podDir(uid), "volumes"), Memory: filepath.Join(r.podState(uid), "volumes")}
}

// volumeSet is the pod's volumes. Its lock is held by whoever makes or changes them: containers of a pod start side by
// side.
func (r *Runtime) volumeSet(p *manifests.Pod) (volume.Set, *sync.Mutex) {
	mu, _ := r.volumes.LoadOrStore(p.UID(), &sync.Mutex{})
	return volume.Set{Pod: p, Dirs: r.volumeDirs(p.UID()), Facts: manifests.Facts{Allocatable: r.allocatable}}, mu.(*sync.Mutex)
}

// Refresh implements podmgr.Runtime.
func (r *Runtime) Refresh(ctx context.Context, p *manifests.Pod) error {
	set, mu := r.volumeSet(p)
	mu.Lock()
	defer mu.Unlock()
	if err := set.Refresh(ctx); err != nil {
		return fmt.Errorf("refreshing the volumes of pod %s: %w", p.Key(), err)
	}
	return nil
}

// resolveVolumes makes the pod's volumes and resolves the container's environment and mounts; its errors are the user's
// to mend.
func (x *starting) resolveVolumes(ctx context.Context) error {
	set, mu := x.r.volumeSet(x.pod)
	mu.Lock()
	defer mu.Unlock()
	paths, err := set.Ensure(ctx)
	if err != nil {
		return err
	}
	if err := x.imageVolumes(ctx, set.Dirs, paths); err != nil {
		return err
	}
	facts := set.Facts
	facts.ReadVolumeFile = volume.ReadFile(paths)
	if facts.PodIPs, facts.HostIPs, err = x.addresses(ctx); err != nil {
		return err
	}
	var skipped []string
	if x.view.env, skipped, err = manifests.Environment(x.pod, x.c, facts); err != nil {
		return err
	}
	x.note(skipped)
	for i := range x.c.VolumeMounts {
		m := &x.c.VolumeMounts[i]
		v := slices.IndexFunc(x.pod.Object.Spec.Volumes, func(v v1.Volume) bool { return v.Name == m.Name })
		if v < 0 {
			return fmt.Errorf("container %q mounts volume %q, which the pod does not have", x.c.Name, m.Name)
		}
		source := paths[m.Name]
		if m.SubPath != "" || m.SubPathExpr != "" {
			if source, err = set.SubPath(paths, x.c, i, x.view.env); err != nil {
				return err
			}
		}
		options, err := volume.Options(x.pod, &x.pod.Object.Spec.Volumes[v], m, m.RecursiveReadOnly != nil && x.r.recursiveReadOnly())
		if err != nil {
			return err
		}
		if err := checkPropagation(source, options); err != nil {
			return err
		}
		x.view.mounts = append(x.view.mounts, specs.Mount{
			Destination: path.Clean("/" + m.MountPath), Type: "bind", Source: source, Options: options,
		})
	}
	return nil
}

// reasonEnv is the kubelet's reason for a warning about keys of envFrom that are no names of variables.
const reasonEnv = "InvalidEnvironmentVariableNames"

// note tells of what was left out of the environment.
func (x *starting) note(skipped []string) {
	var found []podmgr.Note
	for _, text := range skipped {
		found = append(found, podmgr.Note{Container: x.c.Name, Reason: reasonEnv, Message: text})
	}
	x.r.notes.set(x.pod.UID(), x.c.Name, []string{reasonEnv}, found...)
}

// addresses are the pod's and the node's, for a container whose environment asks for them; the pod's are known when its
// sandbox is up.
func (x *starting) addresses(ctx context.Context) (pod, host []string, err error) {
	asks := slices.ContainsFunc(x.c.Env, func(e v1.EnvVar) bool {
		return e.ValueFrom != nil && e.ValueFrom.FieldRef != nil && strings.HasPrefix(e.ValueFrom.FieldRef.FieldPath, "status.")
	})
	if !asks {
		return nil, nil, nil
	}
	if ip := NodeIP(); ip != "" {
		host = []string{ip}
	}
	if x.pod.Object.Spec.HostNetwork {
		return host, host, nil
	}
	if err := x.r.usable(ctx, x.pod); err != nil {
		return nil, nil, err
	}
	f, err := readNetworkFile(filepath.Join(x.r.podState(x.pod.UID()), networkName))
	return f.IPs, host, err
}

// nodeResources are what limits that a container lacks stand for in the downward API: all the node has.
func nodeResources(cpus int, memory int64) v1.ResourceList {
	return v1.ResourceList{
		v1.ResourceCPU:    *resource.NewQuantity(int64(cpus), resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
	}
}
