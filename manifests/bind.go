package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
)

// AnnotationRestartOnConfigChange makes a pod with the value "true" a new pod whenever a ConfigMap or Secret that it names
// changes: it is restarted instead of having its volumes refreshed.
const AnnotationRestartOnConfigChange = "agent.edgepod.dev/restart-on-config-change"

// Bound is the data that a pod takes from ConfigMaps and Secrets: those it names, and no others. What it names and does
// not exist is absent. It is immutable, never prints or marshals a value, and a nil Bound is empty.
type Bound struct {
	configMaps map[string]*Config
	secrets    map[string]*Config
	grant      Grant
	hash       string
}

// ConfigMap is the ConfigMap of that name in the pod's namespace, nil when there is none.
func (b *Bound) ConfigMap(name string) *Config {
	if b == nil {
		return nil
	}
	return b.configMaps[name]
}

// Secret is the Secret of that name in the pod's namespace, nil when there is none.
func (b *Bound) Secret(name string) *Config {
	if b == nil {
		return nil
	}
	return b.secrets[name]
}

// Hash tells the data of two versions of one pod apart: the same UID with another Hash is a pod whose volumes are to be
// refreshed. It is empty for a pod that names nothing.
func (b *Bound) Hash() string {
	if b == nil {
		return ""
	}
	return b.hash
}

// Equal compares by Hash.
func (b *Bound) Equal(c *Bound) bool { return b.Hash() == c.Hash() }

// String says how much is bound, never what.
func (b Bound) String() string {
	return fmt.Sprintf("%d configmaps and %d secrets", len(b.configMaps), len(b.secrets))
}

// Format makes every verb of fmt print String.
func (b Bound) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.String()) }

// MarshalJSON names what is bound.
func (b Bound) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string][]string{"configMaps": sortedKeys(b.configMaps), "secrets": sortedKeys(b.secrets)})
}

// Bind gives each pod the data of the ConfigMaps and Secrets that it names. It is pure; a pod that names nothing comes
// back as the same pointer, any other as a new Pod. The data changes a pod's UID only when the pod asks for it by
// AnnotationRestartOnConfigChange. A pod that
// Decode made may be bound again; any other is bound once.
func Bind(pods []*Pod, configs []*Config) []*Pod {
	known := byKey(configs)
	bound := make([]*Pod, len(pods))
	for i, p := range pods {
		b := bind(p, known, Grant{})
		if b == p || p.Object.Annotations[AnnotationRestartOnConfigChange] != "true" {
			bound[i] = b
			continue
		}
		bound[i] = b.renamed(p)
	}
	return bound
}

// BindGranted is Bind for a pod of an API server, whose UID stays whatever its data. The ConfigMaps and Secrets are those
// of FromConfigMap and FromSecret.
func BindGranted(p *Pod, configs []*Config, g Grant) *Pod { return bind(p, byKey(configs), g) }

// renamed gives a pod that bind made of p the UID of its data, so that it is another pod when they change.
func (p *Pod) renamed(from *Pod) *Pod {
	uid := from.UID()
	if from.Document != nil { // whatever it was bound to before
		uid = uidOf(from.Document)
	}
	p.Object = p.Object.DeepCopy()
	p.Object.UID = uidOf([]byte(string(uid) + " " + p.Bound.hash))
	if p.Object.Annotations[annotationConfigHash] != "" {
		p.Object.Annotations[annotationConfigHash] = string(p.Object.UID)
	}
	return p
}

// bind returns p itself when there is nothing to bind, else a new Pod.
func bind(p *Pod, known map[ConfigKey]*Config, g Grant) *Pod {
	named := map[ConfigKey]bool{}
	for _, r := range References(p.Object) {
		named[ConfigKey{r.Kind, p.Object.Namespace, r.Name}] = true
	}
	if len(named) == 0 && g.empty() {
		return p
	}
	b := &Bound{configMaps: map[string]*Config{}, secrets: map[string]*Config{}, grant: g}
	lines := make([]string, 0, len(named))
	for key := range named {
		c, ok := known[key]
		line := key.Kind + "/" + key.Name + " "
		if ok {
			line += c.hash
			if key.Kind == KindConfigMap {
				b.configMaps[key.Name] = c
			} else {
				b.secrets[key.Name] = c
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	h := sha256.New()
	writeHash(h, lines...)
	writeHash(h, g.lines()...)
	b.hash = hex.EncodeToString(h.Sum(nil))

	q := *p
	q.Bound = b
	return &q
}

// Same says whether two pods are the same in all that anybody may ask of them: identity, document, place and data. A
// source keeps the older pointer of two that are.
func (p *Pod) Same(q *Pod) bool {
	return p == q || p.UID() == q.UID() && p.Origin == q.Origin && p.Bound.Equal(q.Bound) &&
		(p.Object == q.Object || reflect.DeepEqual(p.Object, q.Object))
}
