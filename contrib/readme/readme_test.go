package readme

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table into README.md")

const file = "../../README.md"

func TestReadmeHasTheFieldsOfTheCode(t *testing.T) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Replace(string(b))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("README.md is not what the code says; run go test ./contrib/readme -update (-want +got):\n%s", diff)
	}
}

func TestEveryFileThatTheReadmeNamesExists(t *testing.T) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)(?:^|[ \x60])((?:contrib|manifests|podmgr|watcher)/[a-z0-9_./-]+)`).FindAllStringSubmatch(string(b), -1) {
		if _, err := os.Stat(filepath.Join("../..", strings.TrimRight(m[1], "./"))); err != nil {
			t.Errorf("README.md names %s: %v", m[1], err)
		}
	}
}
