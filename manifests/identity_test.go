package manifests

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGoldenUIDs fails when a pod gets another UID than the last version of the agent gave it. That restarts every pod in
// the field: change the golden file only when this is meant, and say so in the release notes.
func TestGoldenUIDs(t *testing.T) {
	var got []string
	for name, data := range corpus(t, "testdata/good/*") {
		pods, problems := Decode(name, data, box)
		for _, p := range problems {
			t.Error(p)
		}
		for _, p := range pods {
			got = append(got, fmt.Sprintf("%s %s %s\n", p.UID(), p.Key(), name))
		}
	}
	slices.SortFunc(got, func(a, b string) int { return strings.Compare(a[37:], b[37:]) })
	want, err := os.ReadFile("testdata/uids.golden")
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(string(want), strings.Join(got, "")); diff != "" {
		t.Error(diff)
	}
}

const baseManifest = `apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: a
    image: b
    resources: {limits: {cpu: 500m, memory: 1Gi}}
  volumes:
  - name: v
    emptyDir: {}
`

func uidOfText(t *testing.T, file, text string) string {
	t.Helper()
	pods, problems := Decode(file, []byte(text), box)
	if len(pods) != 1 {
		t.Fatalf("%d pods; %v", len(pods), problems)
	}
	return string(pods[0].UID())
}

func TestWhatChangesNoUID(t *testing.T) {
	want := uidOfText(t, "base.yaml", baseManifest)
	for name, text := range map[string]string{
		"comments":               "# hello\n" + strings.ReplaceAll(baseManifest, "spec:", "spec: # here"),
		"an earlier document":    "# nothing\n---\n---\n" + baseManifest,
		"CRLF":                   strings.ReplaceAll(baseManifest, "\n", "\r\n"),
		"quantity as a number":   strings.ReplaceAll(baseManifest, "500m", "0.5"),
		"quantity as a string":   strings.ReplaceAll(baseManifest, "500m", `"0.5"`),
		"quantity in other unit": strings.ReplaceAll(baseManifest, "1Gi", "1024Mi"),
		"quoting":                strings.ReplaceAll(baseManifest, "image: b", `"image": 'b'`),
		"order of keys":          "spec:" + strings.Split(baseManifest, "spec:")[1] + strings.Split(baseManifest, "spec:")[0],
		"the default namespace":  strings.ReplaceAll(baseManifest, "name: web\n", "name: web\n  namespace: default\n"),
		"this node's name":       strings.ReplaceAll(baseManifest, "spec:", "spec:\n  nodeName: box"),
		"a status":               baseManifest + "status: {phase: Running, newField: 1}\n",
		"a cluster's UID":        strings.ReplaceAll(baseManifest, "name: web\n", "name: web\n  uid: abc\n  resourceVersion: \"1\"\n"),
		"empty and null fields":  strings.ReplaceAll(baseManifest, "spec:", "spec:\n  securityContext: {}\n  initContainers: []\n  hostAliases: null"),
		"JSON": `{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{"app":"web"},"name":"web"},"spec":{"volumes":[{"emptyDir":{},"name":"v"}],
			"containers":[{"image":"\u0062","name":"a","resources":{"limits":{"memory":"1Gi","cpu":0.5}}}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := uidOfText(t, name, text); got != want {
				t.Errorf("UID %s, want %s", got, want)
			}
		})
	}
}

func TestWhatChangesTheUID(t *testing.T) {
	seen := map[string]string{uidOfText(t, "base.yaml", baseManifest): "the base"}
	for name, edit := range map[string][2]string{
		"an image":               {"image: b", "image: c"},
		"a label":                {"app: web", "app: web2"},
		"an empty label":         {"app: web", `app: web, more: ""`},
		"an annotation":          {"  labels", "  annotations: {a: b}\n  labels"},
		"a name":                 {"name: web", "name: web2"},
		"a namespace":            {"name: web\n", "name: web\n  namespace: other\n"},
		"a quantity":             {"500m", "501m"},
		"a zero":                 {"spec:", "spec:\n  terminationGracePeriodSeconds: 0"},
		"an explicit false":      {"spec:", "spec:\n  automountServiceAccountToken: false"},
		"an empty argument":      {"image: b", "image: b\n    args: [\"\"]"},
		"two empty arguments":    {"image: b", "image: b\n    args: [\"\", \"\"]"},
		"another kind of volume": {"emptyDir: {}", "hostPath: {path: /x}"},
		"one more container":     {"  volumes:", "  - {name: c, image: b}\n  volumes:"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(baseManifest, edit[0], edit[1], 1)
			uid := uidOfText(t, name, text)
			if other, ok := seen[uid]; ok {
				t.Errorf("the same UID as %s", other)
			}
			seen[uid] = name
		})
	}
}

func TestTheNodeNameIsNoPartOfTheUID(t *testing.T) {
	want := uidOfText(t, "f", baseManifest)
	pods, _ := Decode("f", []byte(baseManifest), Options{NodeName: "other"})
	if got := string(pods[0].UID()); got != want {
		t.Errorf("UID %s on another node, want %s", got, want)
	}
}
