package dir

import (
	"cmp"
	"reflect"

	"edgepod.dev/agent/manifests"
)

// id names what a document defines: a pod, or a ConfigMap or Secret beside it. The same rules hold for all of them.
type id struct {
	kind string // of a ConfigMap or Secret; empty for a pod
	key  manifests.Key
}

func podID(k manifests.Key) id { return id{key: k} }

func configID(k manifests.ConfigKey) id {
	return id{kind: k.Kind, key: manifests.Key{Namespace: k.Namespace, Name: k.Name}}
}

// problemID is what a problem is about; its key is zero when that could not be read.
func problemID(p manifests.Problem) id {
	if p.Config != (manifests.ConfigKey{}) {
		return configID(p.Config)
	}
	return podID(p.Pod)
}

func (i id) isPod() bool { return i.kind == "" }

// String is the kind and the key, for people.
func (i id) String() string {
	switch i.kind {
	case "":
		return "pod " + i.key.String()
	case manifests.KindConfigMap:
		return "configmap " + i.key.String()
	}
	return "secret " + i.key.String()
}

// compare sorts pods first, then by key.
func (i id) compare(j id) int {
	return cmp.Or(cmp.Compare(i.kind, j.kind), cmp.Compare(i.key.Namespace, j.key.Namespace), cmp.Compare(i.key.Name, j.key.Name))
}

// wanted is one good document: a pod, or a ConfigMap or Secret.
type wanted struct {
	pod    *manifests.Pod
	config *manifests.Config
}

func (w wanted) id() id {
	if w.config != nil {
		return configID(w.config.ConfigKey)
	}
	return podID(w.pod.Key())
}

func (w wanted) origin() manifests.Origin {
	if w.config != nil {
		return w.config.Origin
	}
	return w.pod.Origin
}

// version tells documents of one id apart by what they say.
func (w wanted) version() string {
	if w.config != nil {
		return w.config.Hash()
	}
	return string(w.pod.UID())
}

// same says whether two documents are the same in all that anybody may ask of them.
func (w wanted) same(v wanted) bool {
	switch {
	case w == v:
		return true
	case w.pod != nil && v.pod != nil:
		return w.pod.Origin == v.pod.Origin && reflect.DeepEqual(w.pod.Object, v.pod.Object)
	}
	return w.config != nil && w.config.Equal(v.config)
}

// bind gives the pods the data of what stands beside them.
func bind(claims map[id]claim) ([]*manifests.Pod, []*manifests.Config) {
	var pods []*manifests.Pod
	var configs []*manifests.Config
	for _, k := range sortedKeys(claims) {
		if c := claims[k]; c.config != nil {
			configs = append(configs, c.config)
		} else {
			pods = append(pods, c.pod)
		}
	}
	return manifests.Bind(pods, configs), configs
}

// keepPointers replaces each pod by that of an earlier snapshot when the two are the same, so that pointers tell whether
// something changed.
func keepPointers(pods, earlier []*manifests.Pod) {
	known := make(map[manifests.Key]*manifests.Pod, len(earlier))
	for _, p := range earlier {
		known[p.Key()] = p
	}
	for i, p := range pods {
		if old := known[p.Key()]; old != nil && old.Same(p) {
			pods[i] = old
		}
	}
}

// countPods is the number of pods among the claims.
func countPods(claims map[id]claim) (n int) {
	for k := range claims {
		if k.isPod() {
			n++
		}
	}
	return n
}
