package containerd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAPodDirectoryThatIsBeingMadeIsNoLeftover(t *testing.T) {
	n := newTestNode(t)
	r := n.open(t)
	t.Cleanup(r.Close)
	dir, left, unread := r.podDir("fresh"), r.podDir("left"), r.podDir("unread")
	for _, d := range []string{dir, left, unread, filepath.Join(unread, "pod.json")} { // a directory: reading it fails
		if err := os.MkdirAll(filepath.Join(d, "volumes", "data"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(left, "pod.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.lives.Lock() // as makePodDir does
	listed := make(chan error, 1)
	go func() {
		_, err := r.Keys(t.Context())
		listed <- err
	}()
	select {
	case err := <-listed:
		t.Errorf("the pods were listed while a directory was being made: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	err := writeFile(filepath.Join(dir, "pod.json"), []byte(`{"namespace":"default","name":"fresh"}`), 0o600)
	r.lives.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-listed; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "volumes", "data")); err != nil {
		t.Errorf("the directory is gone: %v", err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a power cut left is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(unread, "volumes", "data")); err != nil {
		t.Errorf("the directory of a pod whose file could not be read is gone: %v", err)
	}
}
