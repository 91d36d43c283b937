package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(childWithoutInotify())
	}
	goleak.VerifyTestMain(m)
}

// manifest is a pod of the given name; app tells versions of it apart.
func manifest(name, app string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  labels: {app: %q}\nspec:\n  containers:\n  - {name: c, image: example.org/app:1}\n",
		name, app)
}

// rig is a Source that runs on a directory of the test.
type rig struct {
	t        *testing.T
	dir      string
	src      *Source
	out      chan manifests.Snapshot
	last     manifests.Snapshot
	got      bool
	restarts int // changes of a pod's UID and removals seen
	cancel   context.CancelFunc
	done     chan error
}

func config(dir string) Config {
	return Config{
		Dir: dir, Create: true, StoreDir: dir + ".store", Log: zerolog.Nop(), MassRemovalGrace: 300 * time.Millisecond,
		Rescan: time.Hour, // events have to be enough
		Codec:  NewCodec(manifests.Options{NodeName: "node"}),
	}
}

func tempDir(t *testing.T) string { return filepath.Join(t.TempDir(), "manifests") }

func newRig(t *testing.T, cfg Config, tweak ...func(*Source)) *rig {
	t.Helper()
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tweak {
		f(src)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{t: t, dir: cfg.Dir, src: src, out: make(chan manifests.Snapshot), cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- src.Run(ctx, r.out) }()
	t.Cleanup(r.stop)
	for end := time.Now().Add(5 * time.Second); cfg.Create && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(cfg.Dir); err == nil {
			break
		}
	}
	return r
}

// stop ends the source as the end of the agent does.
func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	r.cancel = nil
}

// next takes one snapshot if it comes in time.
func (r *rig) next(d time.Duration) bool {
	select {
	case s := <-r.out:
		now := map[manifests.Key]*manifests.Pod{}
		for _, p := range s.Pods {
			now[p.Key()] = p
		}
		for _, p := range r.last.Pods {
			if n := now[p.Key()]; n == nil || n.UID() != p.UID() {
				r.restarts++
			}
		}
		r.last, r.got = s, true
		return true
	case <-time.After(d):
		return false
	}
}

// state writes the last snapshot as "name=app …".
func (r *rig) state() string {
	if !r.got {
		return "nothing"
	}
	var pods []string
	for _, p := range r.last.Pods {
		pods = append(pods, p.Key().Name+"="+p.Object.Labels["app"])
	}
	return strings.Join(pods, " ")
}

// problem returns the first problem that contains the text.
func (r *rig) problem(text string) (manifests.Problem, bool) {
	for _, p := range r.last.Problems {
		if strings.Contains(p.String(), text) {
			return p, true
		}
	}
	return manifests.Problem{}, false
}

// want waits until the pods are as written and, if given, a problem with the text is there.
func (r *rig) want(state string, problem ...string) {
	r.t.Helper()
	ok := func() bool {
		if !r.got || r.state() != state {
			return false
		}
		for _, p := range problem {
			if _, ok := r.problem(p); !ok {
				return false
			}
		}
		return len(problem) > 0 || len(r.last.Problems) == 0
	}
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if !r.next(time.Until(end)) {
			r.t.Fatalf("want %q %q, have %q %v", state, problem, r.state(), r.last.Problems)
		}
	}
}

// still checks that the pods stay as they are for d.
func (r *rig) still(d time.Duration) {
	r.t.Helper()
	was, restarts := r.state(), r.restarts
	for end := time.Now().Add(d); time.Now().Before(end); {
		if r.next(time.Until(end)) && (r.state() != was || r.restarts != restarts) {
			r.t.Fatalf("%q became %q", was, r.state())
		}
	}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, content string) { put(r.t, r.path(name), content) }

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// drop renames a complete file into place.
func (r *rig) drop(name, content string) {
	r.t.Helper()
	tmp := filepath.Join(filepath.Dir(r.dir), ".new-"+name)
	put(r.t, tmp, content)
	must(r.t, os.Rename(tmp, r.path(name)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
