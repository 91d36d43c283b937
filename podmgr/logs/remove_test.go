package logs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRemovingALogTakesItsRotatedFilesAndNoOthers(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	write := func(elem ...string) {
		path := filepath.Join(elem...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"1.log", "1.log.20260102-150405", "1.log.20260102-150406.0001.gz", "1.log.20260102-150406.gz.tmp",
		"11.log", "2.log", "2.log.20260102-150405", "1.log.mine",
	} {
		write(root, "pod", "app", name)
	}
	write(elsewhere, "1.log")
	if err := os.Symlink(elsewhere, filepath.Join(root, "pod", "link")); err != nil {
		t.Fatal(err)
	}
	h := NewHub(root)
	for range 2 { // what is gone stays gone
		if err := h.Remove(filepath.Join(root, "pod", "app", "1.log")); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Remove(filepath.Join(root, "none", "app", "1.log")); err != nil {
		t.Errorf("a log without a directory: %v", err)
	}
	for _, path := range []string{filepath.Join(root, "pod", "link", "1.log"), filepath.Join(elsewhere, "1.log")} {
		if err := h.Remove(path); err == nil {
			t.Errorf("%s was removed", path)
		}
	}
	var left []string
	for _, dir := range []string{filepath.Join(root, "pod", "app"), elsewhere} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
	}
	if d := cmp.Diff([]string{"1.log.mine", "11.log", "2.log", "2.log.20260102-150405", "1.log"}, left); d != "" {
		t.Errorf("what is left (-want +got):\n%s", d)
	}
}
