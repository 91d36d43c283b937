package pods

import (
	"context"
	"fmt"
	"maps"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// mirrorRetryMost bounds the wait between tries to create a mirror pod: what the API server refuses (a namespace that does
// not exist) it refuses for long.
const mirrorRetryMost = time.Minute

// mirrors keeps a mirror pod in the API server for every pod that a file wants, so that the cluster sees it and the
// scheduler counts it. Owner: its own goroutine.
type mirrors struct {
	*Pods
	trouble map[manifests.Key]trouble
}

// trouble is a mirror pod that could not be created or deleted.
type trouble struct {
	failures int
	retry    time.Time
	text     string
}

// MirrorName is the name of the mirror pod of a pod of a file: its own with the node's behind it, as the kubelet names
// the pod itself.
func MirrorName(pod, node string) string { return pod + "-" + node }

func (m *mirrors) run(ctx context.Context) {
	for {
		changed := m.cfg.Changed()
		wait := m.reconcile(ctx, time.Now())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-changed:
		case <-m.mirrorPods:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reconcile creates, deletes and replaces mirror pods, and returns when to look again at the latest.
func (m *mirrors) reconcile(ctx context.Context, now time.Time) time.Duration {
	all, listed, _ := m.set.all()
	if !listed {
		return time.Hour
	}
	there := make(map[manifests.Key]*v1.Pod, len(all))
	for _, p := range all {
		there[keyOf(p)] = p
	}
	wanted, wait := map[manifests.Key]bool{}, time.Hour
	for _, e := range m.cfg.Entries() {
		if e.Pod == nil || e.Source == m.Name() || e.Gone {
			continue
		}
		k := manifests.Key{Namespace: e.Key.Namespace, Name: MirrorName(e.Key.Name, m.cfg.NodeName)}
		wanted[k] = true
		if t, bad := m.trouble[k]; bad && now.Before(t.retry) {
			wait = min(wait, t.retry.Sub(now))
			continue
		}
		if err := m.ensure(ctx, k, &e, there[k]); err != nil {
			wait = min(wait, m.note(ctx, k, err, now))
			continue
		}
		delete(m.trouble, k)
	}
	maps.DeleteFunc(m.trouble, func(k manifests.Key, _ trouble) bool { return !wanted[k] })
	select {
	case <-m.cfg.Ready:
	default:
		return wait // a source that has not spoken may want what seems to be left over
	}
	for k, p := range there {
		if isMirror(p) && !wanted[k] {
			if err := m.remove(ctx, p); err != nil {
				wait = min(wait, m.note(ctx, k, err, now))
			}
		}
	}
	return wait
}

// ensure brings one mirror pod up to its pod. One that differs or is being deleted is deleted; the watch says when it is
// gone, and then it is created anew.
func (m *mirrors) ensure(ctx context.Context, k manifests.Key, e *Entry, there *v1.Pod) error {
	switch {
	case there == nil && e.Deleted:
		return nil
	case there == nil:
		return m.create(ctx, e.Pod.Object)
	case !isMirror(there):
		return fmt.Errorf("mirroring pod %s: the cluster has another pod named %s on this node", e.Key, k)
	case there.DeletionTimestamp != nil || !e.Deleted && there.Annotations[annotationMirror] != string(e.Pod.UID()):
		return m.remove(ctx, there)
	}
	return nil
}

func (m *mirrors) create(ctx context.Context, pod *v1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	owner, err := m.nodeUID(ctx)
	if err != nil {
		return fmt.Errorf("mirroring pod %s: %w", keyOf(pod), err)
	}
	mirror := mirrorOf(pod, m.cfg.NodeName, owner)
	created, err := m.cfg.Client.CoreV1().Pods(mirror.Namespace).Create(ctx, mirror, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err): // the watch will tell
		return nil
	case err != nil:
		return fmt.Errorf("mirroring pod %s: %w", keyOf(pod), err)
	}
	m.cfg.Log.Info().Stringer("pod", keyOf(pod)).Str("mirror", mirror.Name).Msg("created the mirror pod")
	return m.set.Add(created)
}

func (m *mirrors) remove(ctx context.Context, p *v1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := m.cfg.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(p.UID)),
	})
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		m.set.drop(keyOf(p), p.UID)
		return nil
	}
	return fmt.Errorf("deleting mirror pod %s: %w", keyOf(p), err)
}

// note remembers a failure, says it once, and returns how long to wait.
func (m *mirrors) note(ctx context.Context, k manifests.Key, err error, now time.Time) time.Duration {
	t := m.trouble[k]
	t.failures++
	wait := jittered(min(backOff(t.failures)*time.Duration(t.failures), mirrorRetryMost))
	if t.text != err.Error() && ctx.Err() == nil {
		m.cfg.Log.Warn().Err(err).Msg("a mirror pod is not as it should be; it is tried again")
	}
	t.retry, t.text = now.Add(wait), err.Error()
	m.trouble[k] = t
	return wait
}

// nodeUID is the UID of the node in the API server, which owns the mirror pods.
func (m *mirrors) nodeUID(ctx context.Context) (types.UID, error) {
	if n := m.cfg.Node(); n != nil && n.UID != "" && n.UID != types.UID(n.Name) {
		return n.UID, nil
	}
	n, err := m.cfg.Client.CoreV1().Nodes().Get(ctx, m.cfg.NodeName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading the node: %w", err)
	}
	return n.UID, nil
}

// mirrorOf is the mirror pod of a pod of a file. The API server takes none that names objects of its own: those are
// resolved from files here, and are left out there.
func mirrorOf(pod *v1.Pod, node string, owner types.UID) *v1.Pod {
	m := &v1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: MirrorName(pod.Name, node), Labels: pod.Labels, Annotations: maps.Clone(pod.Annotations),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node, UID: owner, Controller: new(true)}},
	}}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[annotationHash], m.Annotations[annotationMirror] = string(pod.UID), string(pod.UID)
	m.Spec = *pod.Spec.DeepCopy()
	s := &m.Spec
	s.NodeName, s.ServiceAccountName, s.DeprecatedServiceAccount, s.ImagePullSecrets = node, "", "", nil
	for _, list := range [][]v1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			withoutObjects(&list[i])
		}
	}
	for i := range s.Volumes {
		v := &s.Volumes[i].VolumeSource
		if v.ConfigMap != nil || v.Secret != nil || v.Projected != nil {
			*v = v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}
		}
	}
	return m
}

func withoutObjects(c *v1.Container) {
	c.EnvFrom = nil
	env := c.Env[:0]
	for _, e := range c.Env {
		if e.ValueFrom == nil || e.ValueFrom.ConfigMapKeyRef == nil && e.ValueFrom.SecretKeyRef == nil {
			env = append(env, e)
		}
	}
	c.Env = env
}
