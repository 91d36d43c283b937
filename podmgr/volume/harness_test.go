package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	"github.com/moby/sys/mountinfo"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kyaml "sigs.k8s.io/yaml"
)

// These tests mount for real: they need root, and say so rather than pass without it.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of volumes mount file systems and need root")
		os.Exit(1)
	}
	before := mountPoints()
	code := m.Run()
	for _, p := range mountPoints() {
		if strings.HasPrefix(p, os.TempDir()) && !slices.Contains(before, p) && strings.Contains(p, "volume-test") {
			fmt.Fprintln(os.Stderr, "left mounted:", p)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func mountPoints() []string {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		panic(err)
	}
	var points []string
	for _, m := range mounts {
		points = append(points, m.Mountpoint)
	}
	return points
}

// place makes the directories of a pod, and removes what is left of them at the end.
func place(t testing.TB) Dirs {
	t.Helper()
	root, err := os.MkdirTemp("", "volume-test-")
	if err != nil {
		t.Fatal(err)
	}
	d := Dirs{Disk: filepath.Join(root, "disk"), Memory: filepath.Join(root, "memory")}
	t.Cleanup(func() {
		for _, p := range slices.Backward(mountPoints()) {
			if strings.HasPrefix(p, root+"/") {
				_ = unix.Unmount(p, unix.MNT_DETACH)
			}
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return d
}

// podOf makes a pod with the spec, bound to the objects.
func podOf(t testing.TB, spec, objects string) *manifests.Pod {
	t.Helper()
	p := &v1.Pod{}
	p.Name, p.Namespace, p.UID, p.Labels = "web", "default", "u", map[string]string{"app": "shop"}
	if err := kyaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	docs := manifests.Documents{}
	if objects != "" {
		docs = manifests.DecodeAll("f", []byte(objects), manifests.Options{})
	}
	for _, problem := range docs.Problems {
		t.Fatal(problem)
	}
	return manifests.Bind([]*manifests.Pod{{Object: p}}, docs.Configs)[0]
}

func setOf(t testing.TB, d Dirs, spec, objects string) Set {
	t.Helper()
	return Set{Pod: podOf(t, spec, objects), Dirs: d, Facts: manifests.Facts{Allocatable: v1.ResourceList{
		v1.ResourceMemory: resource.MustParse("1Gi"), v1.ResourceCPU: resource.MustParse("2"),
	}}}
}

func ensure(t testing.TB, s Set) map[string]string {
	t.Helper()
	paths, err := s.Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// look describes what is at a path: type and mode, owner, content.
func look(t testing.TB, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err.Error()
	}
	what := "?"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		what = "dir"
	case unix.S_IFREG:
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		what = string(b)
	}
	return fmt.Sprintf("%04o %d:%d %s", st.Mode&0o7777, st.Uid, st.Gid, what)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
