package manifests_test

import (
	"os"
	"path/filepath"
	"testing"

	"edgepod.dev/agent/manifests"
)

func TestExamplesDecodeWithoutProblems(t *testing.T) {
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %d examples, want at least 4 (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pods, problems := manifests.Decode(file, data, manifests.Options{NodeName: "box"})
			for _, p := range problems {
				t.Error(p)
			}
			if len(pods) != 1 {
				t.Errorf("%d pods, want 1", len(pods))
			}
		})
	}
}
