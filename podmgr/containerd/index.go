package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// index says which container IDs and pod directories belong to a pod key, so that observing one pod does not read all.
// It is a cache of containerd and of <root>/pods: relist rebuilds it, creating and removing keep it, and an entry whose
// object is gone is harmless.
type index struct {
	mu   sync.Mutex
	pods map[manifests.Key]*podIndex
	ids  map[string]manifests.Key
}

type podIndex struct {
	containers map[string]struct{}
	uids       map[types.UID]struct{}
}

func newIndex() *index {
	return &index{pods: map[manifests.Key]*podIndex{}, ids: map[string]manifests.Key{}}
}

func (x *index) pod(k manifests.Key) *podIndex {
	p := x.pods[k]
	if p == nil {
		p = &podIndex{containers: map[string]struct{}{}, uids: map[types.UID]struct{}{}}
		x.pods[k] = p
	}
	return p
}

func (x *index) addContainer(k manifests.Key, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pod(k).containers[id] = struct{}{}
	x.ids[id] = k
}

func (x *index) removeContainer(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k, ok := x.ids[id]; ok {
		delete(x.ids, id)
		delete(x.pod(k).containers, id)
		x.drop(k)
	}
}

func (x *index) addUID(k manifests.Key, uid types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pod(k).uids[uid] = struct{}{}
}

func (x *index) removeUID(k manifests.Key, uid types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.pod(k).uids, uid)
	x.drop(k)
}

func (x *index) drop(k manifests.Key) {
	if p := x.pods[k]; p != nil && len(p.containers) == 0 && len(p.uids) == 0 {
		delete(x.pods, k)
	}
}

// uids lists every pod of which a directory exists.
func (x *index) uids() (all []types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.pods {
		for uid := range p.uids {
			all = append(all, uid)
		}
	}
	return all
}

func (x *index) has(id string) bool {
	_, ok := x.keyOf(id)
	return ok
}

func (x *index) keyOf(id string) (manifests.Key, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k, ok := x.ids[id]
	return k, ok
}

func (x *index) get(k manifests.Key) (ids []string, uids []types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.pods[k]
	if p == nil {
		return nil, nil
	}
	for id := range p.containers {
		ids = append(ids, id)
	}
	for u := range p.uids {
		uids = append(uids, u)
	}
	return ids, uids
}

func (x *index) keys() []manifests.Key {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]manifests.Key, 0, len(x.pods))
	for k := range maps.Keys(x.pods) {
		out = append(out, k)
	}
	return out
}

// relist adds to the index everything that containerd and <root>/pods know. It never removes: what is made at the same
// moment must not be lost, and an entry too many is dropped when it is observed.
func (r *Runtime) relist(ctx context.Context) error {
	all, err := r.client.ContainerService().List(r.ns(ctx))
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range all {
		if k, _, _, _, ok := owner(c); ok {
			r.index.addContainer(k, c.ID)
		}
	}
	dirs, err := os.ReadDir(filepath.Join(r.cfg.Root, "pods"))
	if err != nil {
		return fmt.Errorf("listing pod directories: %w", err)
	}
	for _, d := range dirs {
		uid := types.UID(d.Name())
		p, err := readPodFile(r.podDir(uid))
		if err != nil {
			if p, err = r.unreadable(uid); err != nil {
				continue
			}
		}
		r.index.addUID(manifests.Key{Namespace: p.Namespace, Name: p.Name}, uid)
	}
	return nil
}

// unreadable looks once more at a pod's directory when nobody is about to make it. It removes one without a pod.json, or
// with an empty one: it was made in the instant of a power cut, and nothing else of the pod can exist. A file that cannot
// be read (EMFILE, EIO) says nothing, and the directory stays.
func (r *Runtime) unreadable(uid types.UID) (podFile, error) {
	r.lives.Lock()
	defer r.lives.Unlock()
	dir := r.podDir(uid)
	p, err := readPodFile(dir)
	if err == nil {
		return p, nil
	}
	if _, gone := os.Lstat(dir); gone != nil {
		return p, err
	}
	log := r.log.Warn().Err(err).Str("uid", string(uid))
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoPodFile) {
		log.Msg("a pod's file cannot be read; its directory is left as it is")
		return p, err
	}
	log.Msg("removing a pod directory without a readable pod.json")
	if err := removeTree(dir); err != nil {
		r.log.Warn().Err(err).Str("uid", string(uid)).Msg("removing a pod directory")
	}
	return p, err
}

// Keys implements podmgr.Runtime.
func (r *Runtime) Keys(ctx context.Context) ([]manifests.Key, error) {
	if err := r.relist(ctx); err != nil {
		return nil, err
	}
	return r.index.keys(), nil
}

// podFile is <root>/pods/<uid>/pod.json.
type podFile struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Pod is the pod as it first came: what its end needs when the manifest is gone.
	Pod *v1.Pod `json:"pod"`
}

func (r *Runtime) podDir(uid types.UID) string {
	return filepath.Join(r.cfg.Root, "pods", string(uid))
}

func (r *Runtime) podState(uid types.UID) string {
	return filepath.Join(r.cfg.State, "pods", string(uid))
}

var errNoPodFile = errors.New("it is not a pod's file")

func readPodFile(dir string) (podFile, error) {
	var p podFile
	b, err := os.ReadFile(filepath.Join(dir, "pod.json"))
	if err != nil {
		return p, fmt.Errorf("reading the pod's file: %w", err)
	}
	if err := json.Unmarshal(b, &p); err != nil || p.Name == "" {
		return p, fmt.Errorf("reading %s: %w", filepath.Join(dir, "pod.json"), errNoPodFile)
	}
	return p, nil
}

// makePodDir makes the pod's directory, the first thing of a pod that exists.
func (r *Runtime) makePodDir(p *manifests.Pod) error {
	k, uid := p.Key(), p.UID()
	dir := r.podDir(uid)
	// A pull and the sandbox may both be the first to need it.
	r.lives.Lock()
	defer r.lives.Unlock()
	if _, err := readPodFile(dir); err == nil {
		r.index.addUID(k, uid)
		return nil
	}
	if err := os.MkdirAll(filepath.Join(dir, "volumes"), 0o755); err != nil {
		return fmt.Errorf("creating the pod's directory: %w", err)
	}
	b, err := json.Marshal(podFile{Namespace: k.Namespace, Name: k.Name, Pod: p.Object})
	if err != nil {
		return fmt.Errorf("encoding the pod's file: %w", err)
	}
	if err := writeFile(filepath.Join(dir, "pod.json"), b, 0o600); err != nil {
		return err
	}
	r.index.addUID(k, uid)
	return nil
}

// syncPodDir brings the pod's own files to the disk. Otherwise a power cut within half a minute leaves them empty, and the
// pod's directory would go with all that its containers have written.
func (r *Runtime) syncPodDir(uid types.UID) {
	dir := r.podDir(uid)
	for _, path := range []string{filepath.Join(dir, "pod.json"), filepath.Join(dir, idsFile), dir, filepath.Dir(dir)} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no user namespace, or the pod is gone already
		}
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			r.log.Warn().Err(err).Str("file", path).Msg("a power cut may take a pod's file")
		}
	}
}

// VolumeDir is where a volume of a pod lies on the node; empty for one that is not the pod's own.
func (r *Runtime) VolumeDir(p *v1.Pod, v *v1.Volume) string {
	if v.EmptyDir == nil {
		return ""
	}
	return filepath.Join(r.podDir(p.UID), "volumes", v.Name)
}
