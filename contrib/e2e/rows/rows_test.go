package rows

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"edgepod.dev/agent/manifests"
)

func TestEveryFieldHasARow(t *testing.T) {
	if missing := Unproved(); len(missing) > 0 {
		t.Errorf("these fields are supported and no row proves them; add rows to contrib/e2e/rows:\n%s", strings.Join(missing, "\n"))
	}
}

func TestEveryRowNamesFieldsOfTheTable(t *testing.T) {
	known := map[string]bool{}
	for _, f := range manifests.Fields() {
		known[f.Path] = true
	}
	tests := ""
	files, _ := filepath.Glob("../*_test.go")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		tests += string(b)
	}
	names := map[string]bool{}
	for _, r := range All() {
		if r.Test != "" {
			if !strings.Contains(tests, "\nfunc "+r.Test+"(t *testing.T)") {
				t.Errorf("%q names %s, which is no test of contrib/e2e", r.Name, r.Test)
			}
		} else if r.Says == "" && r.Look == nil && r.After == nil && r.Until == nil && !slices.Contains(waits, r.Name) {
			t.Errorf("%q looks at nothing", r.Name)
		}
		if len(r.Fields) == 0 {
			t.Errorf("%q proves no field", r.Name)
		}
		for _, p := range r.Paths() {
			if !known[p] {
				t.Errorf("%q names %s, which the table of fields does not have", r.Name, p)
			}
		}
		for _, side := range []bool{false, true} {
			name := podName(r.Name, side)
			if names[name] || len(validation.IsDNS1123Label(name)) > 0 {
				t.Errorf("%q makes the pod %q: taken, or no name", r.Name, name)
			}
			names[name] = true
		}
	}
}

// waits are rows whose proof is that the pod becomes ready at all.
var waits = []string{"readiness by gRPC asks the health service"}
