package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/errdefs"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// storageEvery is how often pods that have a limit on the disk are measured, as often as the kubelet does.
const storageEvery = 10 * time.Second

// evictedFile in <root>/pods/<uid> says that a pod has used more of the disk than it may, and how. It goes with the pod.
const evictedFile = "evicted"

// storageLimits are the limits of a pod on the node's disk, in bytes.
type storageLimits struct {
	key        manifests.Key
	volumes    map[string]resource.Quantity // emptyDir.sizeLimit, by volume
	containers map[string]resource.Quantity // limits.ephemeral-storage, by container
	pod        *resource.Quantity           // of all containers together; nil: none
	disks      []string                     // emptyDirs on disk, with and without a limit
}

func (l *storageLimits) none() bool { return len(l.volumes) == 0 && len(l.containers) == 0 }

// storageLimitsOf reads the limits of a pod (kubelet: pkg/kubelet/eviction, localStorageEviction).
func storageLimitsOf(p *v1.Pod) *storageLimits {
	l := &storageLimits{key: manifests.Key{Namespace: p.Namespace, Name: p.Name}, volumes: map[string]resource.Quantity{}, containers: map[string]resource.Quantity{}}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.Medium != v1.StorageMediumDefault {
			continue
		}
		l.disks = append(l.disks, v.Name)
		if q := v.EmptyDir.SizeLimit; q != nil && q.Sign() > 0 {
			l.volumes[v.Name] = *q
		}
	}
	var beside, most resource.Quantity // main containers and sidecars; the most that any init container adds
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			c := &list[i]
			q, ok := c.Resources.Limits[v1.ResourceEphemeralStorage]
			if !ok {
				continue
			}
			l.containers[c.Name] = q
			if isInit := i < len(p.Spec.InitContainers) && &p.Spec.InitContainers[i] == c; isInit && c.RestartPolicy == nil {
				if q.Cmp(most) > 0 {
					most = q
				}
				continue
			}
			beside.Add(q)
		}
	}
	if len(l.containers) > 0 {
		if most.Cmp(beside) > 0 {
			beside = most
		}
		l.pod = &beside
	}
	return l
}

// watchStorage measures the pods that have limits until ctx ends.
func (r *Runtime) watchStorage(ctx context.Context) {
	t := time.NewTicker(storageEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, uid := range r.index.uids() {
			l := r.limitsOf(uid)
			if l == nil || l.none() || r.evicted(uid) != "" {
				continue
			}
			why, err := r.exceeds(r.ns(ctx), uid, l)
			if err == nil && why != "" {
				err = writeFile(filepath.Join(r.podDir(uid), evictedFile), []byte(why), 0o600)
				r.nudge(l.key)
			}
			if err != nil && ctx.Err() == nil {
				r.log.Warn().Err(err).Stringer("pod", l.key).Msg("measuring what a pod uses of the disk")
			}
		}
	}
}

// limitsOf are the limits of a pod that is here; nil when it is not.
func (r *Runtime) limitsOf(uid types.UID) *storageLimits {
	if l, known := r.storage.Load(uid); known {
		return l.(*storageLimits)
	}
	p, err := readPodFile(r.podDir(uid))
	if err != nil || p.Pod == nil {
		return nil
	}
	l := storageLimitsOf(p.Pod)
	r.storage.Store(uid, l)
	return l
}

// evicted is why a pod is evicted; empty when it is not.
func (r *Runtime) evicted(uid types.UID) string {
	b, err := os.ReadFile(filepath.Join(r.podDir(uid), evictedFile))
	if err != nil {
		return ""
	}
	return string(b)
}

// evictions are the evicted ones of some pods. Only those with limits can be.
func (r *Runtime) evictions(uids []types.UID) (out []podmgr.Eviction) {
	for _, uid := range uids {
		if l := r.limitsOf(uid); l == nil || l.none() {
			continue
		}
		if why := r.evicted(uid); why != "" {
			out = append(out, podmgr.Eviction{UID: uid, Message: why})
		}
	}
	return out
}

// exceeds measures a pod and says, in the kubelet's words, which limit it exceeds; empty: none.
func (r *Runtime) exceeds(ctx context.Context, uid types.UID, l *storageLimits) (string, error) {
	var total int64
	for _, name := range l.disks {
		limit, has := l.volumes[name]
		if !has && l.pod == nil {
			continue
		}
		used, err := diskUsage(ctx, filepath.Join(r.volumeDirs(uid).Disk, name))
		if err != nil {
			return "", fmt.Errorf("measuring volume %q: %w", name, err)
		}
		if total += used; has && used > limit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", name, limit.String()), nil
		}
	}
	if l.pod == nil {
		return "", nil
	}
	usage, err := r.containerUsage(ctx, uid, l.key)
	if err != nil {
		return "", err
	}
	for name, used := range usage {
		total += used
		if limit, has := l.containers[name]; has && used > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", name, limit.String()), nil
		}
	}
	if total > l.pod.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", l.pod.String()), nil
	}
	return "", nil
}

// containerUsage is what each container of a pod has on the disk: its own files and its logs.
func (r *Runtime) containerUsage(ctx context.Context, uid types.UID, k manifests.Key) (map[string]int64, error) {
	usage := map[string]int64{}
	ids, _ := r.index.get(k)
	for _, id := range ids {
		c, err := r.client.ContainerService().Get(ctx, id)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading container %s: %w", id, err)
		}
		if _, of, name, _, ok := owner(c); ok && of == uid && c.Labels[labelKind] == kindContainer {
			u, err := r.client.SnapshotService(r.snapshotter).Usage(ctx, id)
			if err != nil && !errdefs.IsNotFound(err) {
				return nil, fmt.Errorf("measuring container %q: %w", name, err)
			}
			usage[name] += u.Size
		}
	}
	for name := range usage {
		used, err := diskUsage(ctx, filepath.Dir(logs.File(r.cfg.PodLogs, k.Namespace, k.Name, uid, name, 0)))
		if err != nil {
			return nil, fmt.Errorf("measuring the logs of container %q: %w", name, err)
		}
		usage[name] += used
	}
	return usage, nil
}

// diskUsage is how many bytes the files in dir take. It goes by descriptor and follows no link: a container may be at work
// in it. What is gone counts nothing.
func diskUsage(ctx context.Context, dir string) (total int64, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	seen := map[uint64]bool{} // inodes with several names
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist), err != nil && strings.Contains(err.Error(), "path escapes from parent"):
			return nil // gone, or changed into a link meanwhile
		case err != nil:
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Nlink > 1 && !d.IsDir() && seen[st.Ino] {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}
