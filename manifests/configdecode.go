package manifests

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// Documents is what a file holds.
type Documents struct {
	Pods     []*Pod
	Configs  []*Config
	Problems []Problem
}

// DecodeAll is Decode for a caller that also takes ConfigMaps and Secrets.
func DecodeAll(file string, data []byte, opt Options) Documents {
	d := &decoder{file: file, opt: opt, all: true}
	d.decode(data)
	return Documents{Pods: d.pods, Configs: d.configs, Problems: d.problems}
}

// isConfig says whether objects of this kind are Configs.
func isConfig(kind string) bool { return kind == KindConfigMap || kind == KindSecret }

// config decodes an object of kind ConfigMap or Secret.
func (d *decoder) config(o object, kind string, m map[string]any) {
	stripServerFields(m)
	raw, err := json.Marshal(m)
	if err != nil { // a float that JSON does not know; the message would show it
		d.report(o, finding{message: "the document cannot be written as JSON: it holds a number that JSON does not have"})
		return
	}
	c, findings := buildConfig(kind, raw, m, o.origin)
	if len(findings) > 0 {
		d.report(o, findings...)
		return
	}
	d.configs = append(d.configs, c)
}

// buildConfig makes the immutable Config of a document. Its findings never show a value of a Secret.
func buildConfig(kind string, raw []byte, generic map[string]any, origin Origin) (*Config, []finding) {
	c := &Config{ConfigKey: ConfigKey{Kind: kind}, Origin: origin, data: map[string][]byte{}}
	var doc any
	var meta *metav1.ObjectMeta
	var findings []finding
	if kind == KindConfigMap {
		var cm *v1.ConfigMap
		if cm, findings = decodeStrict[v1.ConfigMap](raw, generic); len(findings) > 0 {
			return nil, findings
		}
		doc, meta, findings = cm, &cm.ObjectMeta, admitConfigMap(cm)
		cm.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: kind}
		c.binary = map[string]bool{}
		for k, v := range cm.Data {
			c.data[k] = []byte(v)
		}
		for k, v := range cm.BinaryData {
			c.data[k], c.binary[k] = v, true
		}
	} else {
		var s *v1.Secret
		if s, findings = decodeStrict[v1.Secret](raw, generic); len(findings) > 0 {
			return nil, redact(findings)
		}
		doc, meta, findings = s, &s.ObjectMeta, admitSecret(s)
		s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: kind}
		c.Type = s.Type
		for k, v := range s.Data {
			c.data[k] = v
		}
	}
	if len(findings) > 0 {
		return nil, findings
	}
	c.Namespace, c.Name = meta.Namespace, meta.Name
	var err error
	if c.document, err = json.Marshal(doc); err != nil {
		return nil, []finding{{message: err.Error()}}
	}
	c.hash = hashConfig(c)
	return c, nil
}

// admitConfigMap applies the defaults and the validation of the API server.
func admitConfigMap(cm *v1.ConfigMap) []finding {
	findings := checkConfigName(cm.ObjectMeta, KindConfigMap)
	cm.Namespace = orDefault(cm.Namespace)
	corev1.SetObjectDefaults_ConfigMap(cm)
	internal := &core.ConfigMap{}
	if err := corev1.Convert_v1_ConfigMap_To_core_ConfigMap(cm, internal, nil); err != nil {
		return append(findings, finding{message: err.Error()})
	}
	return append(findings, configFindings(validation.ValidateConfigMap(internal), cm.Name)...)
}

// configFindings sorts the errors of a validation that walks maps, so that they are the same each time. That of a missing
// name is left out: checkConfigName said it better.
func configFindings(errs field.ErrorList, name string) []finding {
	var findings []finding
	for _, e := range errs {
		if name != "" || e.Field != "metadata.name" {
			findings = append(findings, fromField(e))
		}
	}
	slices.SortStableFunc(findings, func(a, b finding) int { return cmp.Compare(a.path, b.path) })
	return findings
}

// admitSecret does the same for a Secret; stringData becomes data.
func admitSecret(s *v1.Secret) []finding {
	findings := checkConfigName(s.ObjectMeta, KindSecret)
	s.Namespace = orDefault(s.Namespace)
	corev1.SetObjectDefaults_Secret(s)
	internal := &core.Secret{}
	if err := corev1.Convert_v1_Secret_To_core_Secret(s, internal, nil); err != nil {
		return append(findings, finding{message: "the secret cannot be converted"})
	}
	s.Data, s.StringData = internal.Data, nil
	return append(findings, configFindings(validation.ValidateSecret(internal), s.Name)...)
}

func checkConfigName(meta metav1.ObjectMeta, kind string) []finding {
	if meta.Name != "" {
		return nil
	}
	return []finding{{path: "metadata.name", message: "missing", hint: "pods name the " + kind + " by it"}}
}

// redact takes the values out of findings about a Secret's data, which end up in logs and on screens.
func redact(findings []finding) []finding {
	for i := range findings {
		f := &findings[i]
		if f.path == "" { // words of a JSON decoder
			f.message = "the data cannot be decoded"
		}
		if !strings.HasPrefix(f.path, "data") && !strings.HasPrefix(f.path, "stringData") {
			continue
		}
		what, _, _ := strings.Cut(f.message, ", not ")
		f.message = what
		switch {
		case strings.HasPrefix(f.path, "stringData"):
			f.hint = "put the value in quotes"
		case what == "must be base64 text":
			f.hint = "plain text goes under stringData"
		}
	}
	return findings
}

// configKeyOf reads the key of a ConfigMap or Secret that may be wrong in any way.
func configKeyOf(kind, namespace, name string) ConfigKey {
	if name == "" || !isConfig(kind) {
		return ConfigKey{}
	}
	return ConfigKey{Kind: kind, Namespace: orDefault(namespace), Name: name}
}

// hintForAll is hintForKind of a caller that takes more kinds.
func hintForAll(kind string) string {
	for _, known := range []string{KindConfigMap, KindSecret} {
		if distance(strings.ToLower(kind), strings.ToLower(known)) <= 2 {
			return fmt.Sprintf("did you mean %s?", known)
		}
	}
	if h := hintForKind(kind); h != hintKinds {
		return h
	}
	return "the agent reads kinds Pod, ConfigMap and Secret"
}

// FromConfigMap makes a Config of an object that an API server has validated; it takes the object over. place is where it
// comes from, for people.
func FromConfigMap(cm *v1.ConfigMap, place string) *Config {
	c := &Config{
		ConfigKey: ConfigKey{KindConfigMap, cm.Namespace, cm.Name}, Origin: Origin{File: place},
		data: make(map[string][]byte, len(cm.Data)+len(cm.BinaryData)), binary: map[string]bool{},
	}
	for k, v := range cm.Data {
		c.data[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		c.data[k], c.binary[k] = v, true
	}
	c.hash = hashConfig(c)
	return c
}

// FromSecret is FromConfigMap for a Secret.
func FromSecret(s *v1.Secret, place string) *Config {
	c := &Config{
		ConfigKey: ConfigKey{KindSecret, s.Namespace, s.Name}, Origin: Origin{File: place}, Type: s.Type, data: s.Data,
	}
	c.hash = hashConfig(c)
	return c
}
