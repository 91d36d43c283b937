package manifests

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	kyaml "sigs.k8s.io/yaml"
)

// podOf makes a pod of a spec, with the API server's defaults and validation but without the table of what is supported.
func podOf(t testing.TB, meta, spec string) *Pod {
	t.Helper()
	object := &v1.Pod{}
	text := fmt.Sprintf("metadata: {name: web, %s}\nspec:\n%s\n", meta, "  "+strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  "))
	if err := kyaml.UnmarshalStrict([]byte(text), object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	object.Namespace, object.UID, object.Spec.NodeName = orDefault(object.Namespace), "11111111-2222-8333-8444-555555555555", "box"
	stored, findings := admit(object)
	for _, f := range findings {
		t.Fatalf("%s: %s in\n%s", f.path, f.message, text)
	}
	return &Pod{Object: stored, Origin: Origin{File: "f", Document: 1, Line: 1}}
}

const everywhere = `
initContainers:
- name: i
  image: x
  envFrom: [{configMapRef: {name: init}}, {prefix: P_, secretRef: {name: init, optional: true}}]
containers:
- name: a
  image: x
  env:
  - {name: A, valueFrom: {configMapKeyRef: {name: env, key: a}}}
  - {name: B, valueFrom: {secretKeyRef: {name: env, key: b, optional: true}}}
imagePullSecrets: [{name: pull}]
volumes:
- {name: v1, configMap: {name: vol, items: [{key: k, path: p}]}}
- {name: v2, secret: {secretName: vol, optional: true}}
- name: v3
  projected: {sources: [{configMap: {name: proj}}, {secret: {name: proj}}, {downwardAPI: {}}]}
- {name: v4, emptyDir: {}}
`

func TestReferencesAreFoundWhereverTheyStand(t *testing.T) {
	want := []Reference{
		{KindConfigMap, "init", nil, false, "spec.initContainers[0].envFrom[0].configMapRef.name"},
		{KindSecret, "init", nil, true, "spec.initContainers[0].envFrom[1].secretRef.name"},
		{KindConfigMap, "env", []string{"a"}, false, "spec.containers[0].env[0].valueFrom.configMapKeyRef.name"},
		{KindSecret, "env", []string{"b"}, true, "spec.containers[0].env[1].valueFrom.secretKeyRef.name"},
		{KindConfigMap, "vol", []string{"k"}, false, "spec.volumes[0].configMap.name"},
		{KindSecret, "vol", nil, true, "spec.volumes[1].secret.secretName"},
		{KindConfigMap, "proj", nil, false, "spec.volumes[2].projected.sources[0].configMap.name"},
		{KindSecret, "proj", nil, false, "spec.volumes[2].projected.sources[1].secret.name"},
		{KindSecret, "pull", nil, true, "spec.imagePullSecrets[0].name"},
	}
	if diff := cmp.Diff(want, References(podOf(t, "", everywhere).Object)); diff != "" {
		t.Error(diff)
	}
}

// config makes an object; its only key is k.
func config(kind, namespace, name, value string) *Config {
	c := &Config{ConfigKey: ConfigKey{kind, namespace, name}, data: map[string][]byte{"k": []byte(value)}}
	c.hash = hashConfig(c)
	return c
}

func TestAPodIsBoundToWhatItNamesAndToNothingElse(t *testing.T) {
	p := Bind([]*Pod{podOf(t, "", everywhere)}, []*Config{
		config(KindConfigMap, "default", "vol", "1"), config(KindConfigMap, "default", "vol", "a later one of that name"),
		config(KindSecret, "default", "vol", "2"), config(KindSecret, "default", "pull", "3"),
		config(KindConfigMap, "other", "env", "4"), config(KindSecret, "default", "unnamed", "5"),
		config(KindConfigMap, "default", "pull", "6"),
	})[0]
	got := map[string]string{}
	for kind, get := range map[string]func(string) *Config{"cm": p.Bound.ConfigMap, "s": p.Bound.Secret} {
		for _, name := range []string{"init", "env", "vol", "proj", "pull", "unnamed"} {
			if c := get(name); c != nil {
				v, _ := c.Text("k")
				got[kind+" "+name] = v
			}
		}
	}
	if diff := cmp.Diff(map[string]string{"cm vol": "1", "s vol": "2", "s pull": "3"}, got); diff != "" {
		t.Error(diff)
	}
}

const onePod = "containers: [{name: a, image: x, envFrom: [{secretRef: {name: s}}]}]"

func TestDataChangesTheHashAndTheUIDOnlyWhenThePodAsksForIt(t *testing.T) {
	versions := map[string][]*Config{
		"absent":      nil,
		"empty value": {config(KindSecret, "default", "s", "")},
		"one":         {config(KindSecret, "default", "s", "1")},
		"two":         {config(KindSecret, "default", "s", "2")},
	}
	for name, test := range map[string]struct {
		meta string
		uids int
	}{
		"no annotation":    {"", 1},
		"another value":    {`annotations: {agent.edgepod.dev/restart-on-config-change: "false"}`, 1},
		"restart":          {`annotations: {agent.edgepod.dev/restart-on-config-change: "true"}`, len(versions)},
		"restart, no hash": {`annotations: {agent.edgepod.dev/restart-on-config-change: "true", x: y}`, len(versions)},
	} {
		t.Run(name, func(t *testing.T) {
			p := podOf(t, test.meta, onePod)
			before := p.Object.DeepCopy()
			uids, hashes := map[string]bool{}, map[string]bool{}
			for name, v := range versions {
				q, again := Bind([]*Pod{p}, v)[0], Bind([]*Pod{p}, v)[0]
				uids[string(q.UID())], hashes[q.Bound.Hash()] = true, true
				if q == p || q == again || !q.Same(again) || q.Same(p) {
					t.Errorf("%s: the bound pod is not a new one, the same each time", name)
				}
				if got := q.Object.Annotations[annotationConfigHash]; got != string(q.UID()) {
					t.Errorf("%s: the annotation says %s, the UID is %s", name, got, q.UID())
				}
			}
			if len(uids) != test.uids || len(hashes) != len(versions) {
				t.Errorf("%d UIDs, want %d; %d hashes, want %d", len(uids), test.uids, len(hashes), len(versions))
			}
			if diff := cmp.Diff(before, p.Object); diff != "" {
				t.Errorf("the pod that was bound changed: %s", diff)
			}
		})
	}
}

func TestUnrelatedObjectsChangeNothing(t *testing.T) {
	p := podOf(t, "", onePod)
	with := Bind([]*Pod{p}, []*Config{config(KindSecret, "default", "s", "1"), config(KindConfigMap, "default", "s", "1")})[0]
	without := Bind([]*Pod{p}, []*Config{config(KindSecret, "default", "s", "1")})[0]
	if !with.Same(without) {
		t.Error("an object that the pod does not name changed it")
	}
	plain := podOf(t, "", "containers: [{name: a, image: x}]")
	if Bind([]*Pod{plain}, []*Config{config(KindSecret, "default", "s", "1")})[0] != plain {
		t.Error("a pod that names nothing was copied")
	}
}

func TestABoundPodCanBeBoundAgain(t *testing.T) {
	p := podOf(t, `annotations: {agent.edgepod.dev/restart-on-config-change: "true"}`, onePod)
	p.Document = []byte("{}")
	one, two := []*Config{config(KindSecret, "default", "s", "1")}, []*Config{config(KindSecret, "default", "s", "2")}
	direct, again := Bind([]*Pod{p}, two)[0], Bind(Bind([]*Pod{p}, one), two)[0]
	if !direct.Same(again) {
		t.Errorf("UID %s, bound twice %s", direct.UID(), again.UID())
	}
}

func TestABoundPodNeverPrintsItsSecrets(t *testing.T) {
	p := Bind([]*Pod{podOf(t, "", onePod)}, []*Config{config(KindSecret, "default", "s", marker)})[0]
	js, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	text := string(js) + fmt.Sprintf("%v %+v %#v %s", p, p, p, p) + fmt.Sprintf("%v %+v %#v %x", p.Bound, p.Bound, p.Bound, *p.Bound)
	if strings.Contains(text, marker) || strings.Contains(text, "aHVudGVyMg") || strings.Contains(text, "104 117") || strings.Contains(text, "0x68, 0x75") {
		t.Errorf("the value is in %s", text)
	}
	if !strings.Contains(string(js), `"Bound":{"configMaps":[],"secrets":["s"]}`) {
		t.Errorf("the JSON does not name what is bound: %s", js)
	}
}

func TestReferencesAreCheckedAcrossDocuments(t *testing.T) {
	p := podOf(t, "", everywhere)
	vol := config(KindConfigMap, "default", "vol", "1")
	vol.data = map[string][]byte{"other": nil}
	var got []string
	for _, w := range CheckReferences([]*Pod{p}, []*Config{vol, config(KindConfigMap, "default", "init", ""), config(KindSecret, "default", "proj", "")}) {
		got = append(got, w.Field+": "+w.Message)
		if w.Pod != p.Key() || w.Origin != p.Origin {
			t.Errorf("the warning is about %s at %s", w.Pod, w.Origin)
		}
	}
	want := []string{
		`spec.containers[0].env[0].valueFrom.configMapKeyRef.name: configmap "env" is in none of the files`,
		`spec.volumes[0].configMap.name: configmap "vol" at  has no key "k"`,
		`spec.volumes[2].projected.sources[0].configMap.name: configmap "proj" is in none of the files`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
