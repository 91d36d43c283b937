package manifests

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update rewrites the golden files of testdata/bad. Those of UIDs are never rewritten by a flag.
var update = flag.Bool("update", false, "rewrite testdata/bad/*.golden")

var box = Options{NodeName: "box"}

func corpus(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		if filepath.Ext(name) == ".golden" {
			continue
		}
		if files[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 4 {
		t.Fatalf("only %d files match %s", len(files), pattern)
	}
	return files
}

func TestBadFilesGiveTheirProblemsAndTheGoodPodsBesideThem(t *testing.T) {
	for name, data := range corpus(t, "testdata/bad/*") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			pods, problems := Decode(filepath.Base(name), data, box)
			if len(problems) == 0 {
				t.Error("no problem")
			}
			var got bytes.Buffer
			for _, p := range problems {
				fmt.Fprintf(&got, "%s\n", p)
			}
			for _, p := range pods {
				fmt.Fprintf(&got, "pod %s at %s\n", p.Key(), p.Origin)
			}
			golden := strings.TrimSuffix(name, filepath.Ext(name)) + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAProblemNamesThePodItIsAbout(t *testing.T) {
	web := Key{"default", "web"}
	for name, test := range map[string]struct {
		text string
		want Key
	}{
		"unknown field":         {"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspeck: {}\n", web},
		"its namespace":         {"apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: x}\nspec: {}\n", Key{"x", "web"}},
		"a key set twice":       {"apiVersion: v1\nkind: Pod\nkind: Pod\nmetadata: {name: web}\n", web},
		"a missing kind":        {"apiVersion: v1\nmetadata: {name: web}\n", web},
		"a misspelt kind":       {"apiVersion: v1\nkind: Pot\nmetadata: {name: web}\n", web},
		"a member of a list":    {"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: web}}]\n", web},
		"another kind":          {"apiVersion: v1\nkind: Service\nmetadata: {name: web}\n", Key{}},
		"text that is not YAML": {"apiVersion: v1\nkind: Pod\nmetadata: {name: web\n", Key{}},
	} {
		t.Run(name, func(t *testing.T) {
			pods, problems := Decode("f", []byte(test.text), box)
			if len(pods) != 0 || len(problems) == 0 {
				t.Fatalf("%d pods and %d problems", len(pods), len(problems))
			}
			if diff := cmp.Diff(test.want, problems[0].Pod); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAPodIsAsTheAPIServerWouldStoreIt(t *testing.T) {
	text := "# first line\napiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  hostNetwork: true\n  containers:\n" +
		"  - {name: a, image: 'b:latest', ports: [{containerPort: 80}], resources: {limits: {memory: 1Gi}}}\n"
	pods, problems := Decode("/m/web.yaml", []byte(text), box)
	if len(pods) != 1 || len(problems) != 0 {
		t.Fatalf("%d pods, problems %v", len(pods), problems)
	}
	o := pods[0].Object
	c := o.Spec.Containers[0]
	got := map[string]any{
		"origin": pods[0].Origin, "namespace": o.Namespace, "node": o.Spec.NodeName, "kind": o.APIVersion + " " + o.Kind,
		"restart": string(o.Spec.RestartPolicy), "grace": *o.Spec.TerminationGracePeriodSeconds, "pull": string(c.ImagePullPolicy),
		"hostPort": c.Ports[0].HostPort, "request": c.Resources.Requests.Memory().String(), "phase": string(o.Status.Phase),
		"hash": o.Annotations["kubernetes.io/config.hash"] == string(o.UID), "source": o.Annotations["kubernetes.io/config.source"],
		"toleration": string(o.Spec.Tolerations[0].Operator) + " " + string(o.Spec.Tolerations[0].Effect),
	}
	want := map[string]any{
		"origin": Origin{File: "/m/web.yaml", Document: 1, Line: 2}, "namespace": "default", "node": "box", "kind": "v1 Pod",
		"restart": "Always", "grace": int64(30), "pull": "Always",
		"hostPort": int32(80), "request": "1Gi", "phase": "", "hash": true, "source": "file", "toleration": "Exists NoExecute",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkDecode(b *testing.B) {
	data, err := os.ReadFile("examples/web.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if pods, _ := Decode("web.yaml", data, box); len(pods) != 1 {
			b.Fatal("no pod")
		}
	}
}
