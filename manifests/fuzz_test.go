package manifests

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
			if diff := cmp.Diff(p, back); diff != "" {
				t.Error(diff)
			}
		}
	})
}
