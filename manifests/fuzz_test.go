package manifests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "k8s.io/api/core/v1"
	kyaml "sigs.k8s.io/yaml"
)

// FuzzDecode holds that no file makes Decode panic or run long, and that a pod's document, written anew as YAML or stored
// and read back, is the same pod.
func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*", "testdata/bad/*", "examples/*"} {
		for _, data := range corpus(f, pattern) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		begin := time.Now()
		pods, problems := Decode("f", data, box)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("took %s", took)
		}
		for _, p := range problems {
			if strings.HasPrefix(p.Message, panicMessage) {
				t.Error(p)
			}
		}
		for _, p := range pods {
			text, err := kyaml.JSONToYAML(p.Document)
			if err != nil {
				t.Fatal(err)
			}
			again, problems := Decode("f", text, box)
			if len(again) != 1 {
				t.Fatalf("%s is no pod when written anew: %v\n%s", p.Key(), problems, text)
			}
			if again[0].UID() != p.UID() {
				t.Errorf("UID %s, then %s of\n%s\n%s", p.UID(), again[0].UID(), p.Document, again[0].Document)
			}
			b, err := Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			back, err := DecodeStored(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, back, cmpopts.IgnoreFields(Pod{}, "Warnings")); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// FuzzBind holds that whatever stands in a file of pods and configuration is bound, resolved and checked without a panic;
// that a pod sees its own namespace and what it names only; and that no message or view shows a value of a Secret.
func FuzzBind(f *testing.F) {
	for _, pattern := range []string{"testdata/config/*", "testdata/good/*"} {
		for _, data := range corpus(f, pattern) {
			f.Add(data, everywhere)
		}
	}
	f.Add([]byte("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: hunter2hunter2}}"), onePod)
	f.Fuzz(func(t *testing.T, data []byte, spec string) {
		docs := DecodeAll("f", data, box)
		object := &v1.Pod{}
		if err := kyaml.Unmarshal([]byte(spec), &object.Spec); err == nil && len(object.Spec.Containers) > 0 {
			object.Name, object.Namespace, object.UID = "fuzz", "default", "u"
			docs.Pods = append(docs.Pods, &Pod{Object: object})
		}
		bound := Bind(docs.Pods, docs.Configs)
		said := []string{fmt.Sprintf("%v %+v %v", bound, docs.Configs, docs.Problems)}
		for _, w := range CheckReferences(docs.Pods, docs.Configs) {
			said = append(said, w.String())
		}
		for i, p := range bound {
			if !Bind(docs.Pods, docs.Configs)[i].Same(p) {
				t.Errorf("%s is bound to something else the second time", p.Key())
			}
			named := map[ConfigKey]bool{}
			for _, r := range References(p.Object) {
				named[ConfigKey{r.Kind, p.Object.Namespace, r.Name}] = true
			}
			for _, c := range docs.Configs {
				if got := p.Bound.ConfigMap(c.Name); got != nil && !named[got.ConfigKey] {
					t.Errorf("%s is bound to %s", p.Key(), got)
				}
				if got := p.Bound.Secret(c.Name); got != nil && !named[got.ConfigKey] {
					t.Errorf("%s is bound to %s", p.Key(), got)
				}
			}
			said = append(said, resolve(t, p)...)
		}
		for _, c := range docs.Configs {
			b, err := EncodeConfig(c)
			if err != nil {
				t.Fatal(err)
			}
			back, err := DecodeStoredConfig(b)
			if err != nil || !back.Equal(c) {
				t.Fatalf("%s came back as %v, %v", c, back, err)
			}
			for _, k := range c.Keys() {
				v, _ := c.Bytes(k)
				if c.Kind != KindSecret || !strings.Contains(string(v), marker+marker) {
					continue
				}
				for _, s := range said {
					if strings.Contains(s, string(v)) && strings.Count(string(data)+spec, marker+marker) < 2 {
						t.Errorf("the value of %s is in %s", c, s)
					}
				}
			}
		}
	})
}

// resolve makes the environments and files of a pod and returns what was said about it.
func resolve(t *testing.T, p *Pod) (said []string) {
	for i := range p.Object.Spec.Containers {
		env, notes, err := Environment(p, &p.Object.Spec.Containers[i], facts)
		said = append(append(said, notes...), fmt.Sprint(err))
		seen := map[string]bool{}
		for _, v := range env {
			if seen[v.Name] || strings.IndexByte(v.Value, 0) >= 0 {
				t.Errorf("the variable %q is set twice or holds a NUL", v.Name)
			}
			seen[v.Name] = true
		}
	}
	for i := range p.Object.Spec.Volumes {
		if _, err := VolumeFiles(p, &p.Object.Spec.Volumes[i], facts); err != nil {
			said = append(said, err.Error())
		}
	}
	return said
}
