package pods

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podSet is the pods of this node, mirror pods included, as the API server last had them. A reflector writes it. Its pods
// must not be written to.
type podSet struct {
	changed func()

	mu   sync.Mutex // guards what follows
	pods map[manifests.Key]*v1.Pod
	// listed says that a whole list was read; failed that the API server could not be asked since.
	listed, failed bool
	// doubt holds the pods that a list no longer had; they stay until the API server confirms it.
	doubt map[manifests.Key]types.UID
	count int // see returns
}

func newPodSet(changed func()) *podSet {
	return &podSet{changed: changed, pods: map[manifests.Key]*v1.Pod{}, doubt: map[manifests.Key]types.UID{}}
}

func keyOf(p *v1.Pod) manifests.Key { return manifests.Key{Namespace: p.Namespace, Name: p.Name} }

// preload takes the pods that an earlier agent kept. They are known, not listed.
func (s *podSet) preload(pods []*v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pods {
		s.pods[keyOf(p)] = p
	}
}

// all returns every pod, sorted by creation and name, and whether the API server was read once.
func (s *podSet) all() (pods []*v1.Pod, listed, failed bool) {
	s.mu.Lock()
	pods = slices.Collect(maps.Values(s.pods))
	listed, failed = s.listed, s.failed
	s.mu.Unlock()
	slices.SortFunc(pods, func(a, b *v1.Pod) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return compareKeys(keyOf(a), keyOf(b))
	})
	return pods, listed, failed
}

// byKey returns one pod, nil when it is not there.
func (s *podSet) byKey(k manifests.Key) *v1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[k]
}

// returns counts how often the API server was found to answer again; away says that it does not now.
func (s *podSet) returns() (count int, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.failed
}

// hear notes whether the API server answers, and returns whether that is new.
func (s *podSet) hear(answers bool) bool {
	s.mu.Lock()
	news := s.failed == answers
	s.failed = !answers
	if news && answers {
		s.count++
	}
	s.mu.Unlock()
	if news {
		s.changed()
	}
	return news
}

// Replace is a whole list. A pod that it lacks is in doubt; one whose name another pod has now is gone.
func (s *podSet) Replace(list []any, _ string) error {
	next := make(map[manifests.Key]*v1.Pod, len(list))
	for _, o := range list {
		if p, ok := o.(*v1.Pod); ok {
			next[keyOf(p)] = trimmed(p)
		}
	}
	s.mu.Lock()
	clear(s.doubt)
	for k, p := range s.pods {
		if _, still := next[k]; !still {
			next[k] = p
			s.doubt[k] = p.UID
		}
	}
	s.pods, s.listed = next, true
	s.mu.Unlock()
	s.changed()
	return nil
}

// Add is a pod that the API server has now.
func (s *podSet) Add(o any) error {
	if p, ok := o.(*v1.Pod); ok {
		s.mu.Lock()
		s.pods[keyOf(p)] = trimmed(p)
		delete(s.doubt, keyOf(p))
		s.mu.Unlock()
		s.changed()
	}
	return nil
}

// Update is Add.
func (s *podSet) Update(o any) error { return s.Add(o) }

// Delete is a pod that the API server says is gone.
func (s *podSet) Delete(o any) error {
	if p, ok := o.(*v1.Pod); ok {
		s.drop(keyOf(p), p.UID)
	}
	return nil
}

// Resync has no meaning here.
func (s *podSet) Resync() error { return nil }

// drop removes a pod unless another one has its name by now.
func (s *podSet) drop(k manifests.Key, uid types.UID) {
	s.mu.Lock()
	if p, ok := s.pods[k]; ok && p.UID == uid {
		delete(s.pods, k)
	}
	delete(s.doubt, k)
	s.mu.Unlock()
	s.changed()
}

// doubtful returns the pods that the API server has to be asked about.
func (s *podSet) doubtful() map[manifests.Key]types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.doubt)
}

// trimmed drops what nobody reads here.
func trimmed(p *v1.Pod) *v1.Pod {
	p.ManagedFields = nil
	p.APIVersion, p.Kind = "v1", "Pod"
	return p
}

func compareKeys(a, b manifests.Key) int {
	return compareNames(a.Namespace, a.Name, b.Namespace, b.Name)
}

func compareNames(ns1, name1, ns2, name2 string) int {
	return cmp.Or(strings.Compare(ns1, ns2), strings.Compare(name1, name2))
}
