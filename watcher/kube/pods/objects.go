package pods

import (
	"context"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// objects watches the ConfigMaps and Secrets that pods name, each by itself: the Node authorizer allows no more.
type objects struct {
	client   kubernetes.Interface
	server   string
	patience time.Duration
	changed  func()
	group    sync.WaitGroup

	mu   sync.Mutex // guards what follows and the objects' values
	held map[manifests.ConfigKey]*object
}

// object is one ConfigMap or Secret.
type object struct {
	since  time.Time
	cancel context.CancelFunc
	// answered says that the API server said what it is, or that it is not; config is nil when it is not, or not known.
	answered bool
	config   *manifests.Config
	raw      runtime.Object // of config, for the store
}

func newObjects(client kubernetes.Interface, server string, patience time.Duration, changed func()) *objects {
	return &objects{client: client, server: server, patience: patience, changed: changed, held: map[manifests.ConfigKey]*object{}}
}

// watch follows exactly the objects of keys from now on.
func (o *objects) watch(ctx context.Context, keys map[manifests.ConfigKey]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, x := range o.held {
		if !keys[k] {
			if x.cancel != nil {
				x.cancel()
			}
			delete(o.held, k)
		}
	}
	for k := range keys {
		x := o.held[k]
		if x == nil {
			x = &object{since: time.Now()}
			o.held[k] = x
		}
		if x.cancel == nil {
			ctx, cancel := context.WithCancel(ctx)
			x.cancel, x.since = cancel, time.Now()
			o.group.Go(func() { o.follow(ctx, k, x) })
		}
	}
}

func (o *objects) follow(ctx context.Context, k manifests.ConfigKey, x *object) {
	selector := fields.OneTermEqualSelector("metadata.name", k.Name).String()
	store := single{set: func(raw runtime.Object) { o.set(x, raw) }}
	ignore := func(error) {} // the pods' own watch says that the API server is away; a Forbidden one is retried
	if k.Kind == manifests.KindConfigMap {
		c := o.client.CoreV1().ConfigMaps(k.Namespace)
		kindOf[*v1.ConfigMapList]{c.List, c.Watch}.follow(ctx, selector, &v1.ConfigMap{}, store, ignore)
		return
	}
	c := o.client.CoreV1().Secrets(k.Namespace)
	kindOf[*v1.SecretList]{c.List, c.Watch}.follow(ctx, selector, &v1.Secret{}, store, ignore)
}

// set takes what the API server has, nil for nothing.
func (o *objects) set(x *object, raw runtime.Object) {
	config, raw := o.config(raw)
	o.mu.Lock()
	same := x.answered && x.config.Equal(config)
	x.answered, x.config, x.raw = true, config, raw
	o.mu.Unlock()
	if !same {
		o.changed()
	}
}

// config keeps of an object what pods can take.
func (o *objects) config(raw runtime.Object) (*manifests.Config, runtime.Object) {
	place := func(kind, namespace, name string) string {
		return o.server + "/namespaces/" + namespace + "/" + kind + "/" + name
	}
	switch raw := raw.(type) {
	case *v1.ConfigMap:
		kept := &v1.ConfigMap{Data: raw.Data, BinaryData: raw.BinaryData}
		kept.Namespace, kept.Name = raw.Namespace, raw.Name
		return manifests.FromConfigMap(kept, place("configmaps", raw.Namespace, raw.Name)), kept
	case *v1.Secret:
		kept := &v1.Secret{Data: raw.Data, Type: raw.Type}
		kept.Namespace, kept.Name = raw.Namespace, raw.Name
		return manifests.FromSecret(kept, place("secrets", raw.Namespace, raw.Name)), kept
	}
	return nil, nil
}

// preload takes objects that an earlier agent kept.
func (o *objects) preload(list []runtime.Object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, raw := range list {
		if c, kept := o.config(raw); c != nil {
			o.held[c.ConfigKey] = &object{config: c, raw: kept}
		}
	}
}

// get returns those of keys that are there, and whether all that is to be known of them is known by now.
func (o *objects) get(keys map[manifests.ConfigKey]bool, now time.Time) (configs []*manifests.Config, raw []runtime.Object, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known = true
	for k := range keys {
		x := o.held[k]
		switch {
		case x == nil:
			known = false
		case x.config != nil:
			configs, raw = append(configs, x.config), append(raw, x.raw)
		case !x.answered && now.Sub(x.since) < o.patience:
			known = false
		}
	}
	return configs, raw, known
}

// keysOf are the ConfigMaps and Secrets that a pod names.
func keysOf(p *v1.Pod) map[manifests.ConfigKey]bool {
	keys := map[manifests.ConfigKey]bool{}
	for _, r := range manifests.References(p) {
		keys[manifests.ConfigKey{Kind: r.Kind, Namespace: p.Namespace, Name: r.Name}] = true
	}
	return keys
}

// single is the store of a reflector that follows one object.
type single struct{ set func(runtime.Object) }

var _ cache.ReflectorStore = single{}

// Replace is the whole list: the object or nothing.
func (s single) Replace(list []any, _ string) error {
	if len(list) == 0 {
		s.set(nil)
		return nil
	}
	return s.Add(list[0])
}

// Add is the object as it is now.
func (s single) Add(o any) error {
	if raw, ok := o.(runtime.Object); ok {
		s.set(raw)
	}
	return nil
}

// Update is Add.
func (s single) Update(o any) error { return s.Add(o) }

// Delete says that the object is gone.
func (s single) Delete(any) error {
	s.set(nil)
	return nil
}

// Resync has no meaning here.
func (s single) Resync() error { return nil }
