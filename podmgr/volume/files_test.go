package volume

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	object1 = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '1', b: '1', old: x}}\n---\n{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {pw: hunter2}}"
	object2 = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '2', b: '2', new: x}}\n---\n{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {pw: changed}}"

	podFiles = `
containers: [{name: a, resources: {limits: {cpu: 500m}}}]
volumes:
- {name: c, configMap: {name: c}}
- {name: s, secret: {secretName: s, defaultMode: 0o400}}
- {name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: d/cpu, resourceFieldRef: {containerName: a, resource: limits.cpu, divisor: 1m}}]}}
- {name: p, projected: {sources: [{secret: {name: s, items: [{key: pw, path: x/pw, mode: 0o440}]}}, {configMap: {name: c, items: [{key: a, path: a}]}}]}}
- {name: o, configMap: {name: none, optional: true}}
`
)

// tree describes the files that a user sees in a volume.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		root := filepath.Join(dir, e.Name())
		real, err := filepath.EvalSymlinks(root)
		must(t, err)
		must(t, filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				got[e.Name()+strings.TrimPrefix(path, real)] = look(t, path)
			}
			return err
		}))
	}
	return got
}

func TestFilesOfDocumentsAreInMemoryWithTheirModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	s := setOf(t, place(t), podFiles, object1)
	paths := ensure(t, s)
	want := map[string]map[string]string{
		"c": {"a": "0644 0:0 1", "b": "0644 0:0 1", "old": "0644 0:0 x"},
		"s": {"pw": "0400 0:0 hunter2"},
		"d": {"labels": `0644 0:0 app="shop"`, "d/cpu": "0644 0:0 500"},
		"p": {"x/pw": "0440 0:0 hunter2", "a": "0644 0:0 1"},
		"o": {},
	}
	for name, want := range want {
		if diff := cmp.Diff(want, tree(t, paths[name])); diff != "" {
			t.Errorf("volume %s: %s", name, diff)
		}
		var st unix.Statfs_t
		if must(t, unix.Statfs(paths[name], &st)); st.Type != unix.TMPFS_MAGIC {
			t.Errorf("volume %s is not on a tmpfs", name)
		}
		if got := look(t, paths[name]); got != "0755 0:0 dir" {
			t.Errorf("volume %s is %s", name, got)
		}
	}
	if _, err := os.Lstat(s.Dirs.Disk); err == nil {
		t.Error("something was written to the disk")
	}
	if m := mountOf(t, s.Dirs.config()); !strings.Contains(m.Options, "nosuid") || !strings.Contains(m.Options, "nodev") {
		t.Errorf("the tmpfs is mounted %s", m.Options)
	}
}

func TestAGroupMayReadTheFiles(t *testing.T) {
	s := setOf(t, place(t), "securityContext: {fsGroup: 4711, runAsUser: 1000}"+podFiles, object1)
	paths := ensure(t, s)
	got := map[string]string{
		"root": look(t, paths["s"]), "data": look(t, filepath.Join(paths["s"], "..data")), "secret": look(t, filepath.Join(paths["s"], "pw")),
		"config": look(t, filepath.Join(paths["c"], "a")), "dir": look(t, filepath.Join(paths["p"], "x")), "in dir": look(t, filepath.Join(paths["p"], "x/pw")),
	}
	want := map[string]string{
		"root": "2775 0:4711 dir", "data": "2775 0:4711 dir", "secret": "0440 0:4711 hunter2",
		"config": "0644 0:4711 1", "dir": "2775 0:4711 dir", "in dir": "0440 0:4711 hunter2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	for spec, want := range map[string]string{
		"{name: v, configMap: {name: gone}}":                                  `volume "v": configmap "gone" not found`,
		"{name: v, secret: {secretName: gone}}":                               `volume "v": secret "gone" not found`,
		"{name: v, secret: {secretName: s, items: [{key: k, path: x}]}}":      `volume "v": references non-existent secret key: k`,
		"{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}": `volume "v": serviceAccountToken is not supported: there are no service account tokens without an API server`,
	} {
		if _, err := setOf(t, place(t), "volumes: ["+spec+"]", object1).Ensure(t.Context()); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", spec, err, want)
		}
	}
}

func TestARefreshSwapsWhatChangedAndNothingElse(t *testing.T) {
	s := setOf(t, place(t), podFiles, object1)
	paths := ensure(t, s)
	links := func() map[string]string {
		m := map[string]string{}
		for name, path := range paths {
			link, err := os.Readlink(filepath.Join(path, "..data"))
			must(t, err)
			m[name] = link
		}
		return m
	}
	first := links()
	must(t, s.Refresh(t.Context()))
	if diff := cmp.Diff(first, links()); diff != "" {
		t.Errorf("a refresh without a change swapped: %s", diff)
	}
	s2 := setOf(t, s.Dirs, podFiles, object2)
	must(t, s2.Refresh(t.Context()))
	second := links()
	for name, changed := range map[string]bool{"c": true, "s": true, "p": true, "d": false, "o": false} {
		if (first[name] != second[name]) != changed {
			t.Errorf("volume %s: swapped is not %t", name, changed)
		}
		entries, err := os.ReadDir(paths[name])
		must(t, err)
		stamped := 0
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..2") {
				stamped++
			}
		}
		if stamped != 1 {
			t.Errorf("volume %s has %d directories of files", name, stamped)
		}
	}
	if diff := cmp.Diff(map[string]string{"a": "0644 0:0 2", "b": "0644 0:0 2", "new": "0644 0:0 x"}, tree(t, paths["c"])); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Lstat(filepath.Join(paths["c"], "old")); err == nil {
		t.Error("the name of a removed key is still there")
	}
}

func TestAVolumeWhoseObjectIsGoneKeepsItsFiles(t *testing.T) {
	s := setOf(t, place(t), podFiles, object1)
	paths := ensure(t, s)
	without, _, _ := strings.Cut(object2, "\n---\n")
	err := setOf(t, s.Dirs, podFiles, without).Refresh(t.Context())
	if err == nil || !strings.Contains(err.Error(), `volume "s": secret "s" not found`) {
		t.Errorf("error %v", err)
	}
	if got := look(t, filepath.Join(paths["s"], "pw")); got != "0400 0:0 hunter2" {
		t.Errorf("the secret is %s", got)
	}
	if got := look(t, filepath.Join(paths["c"], "a")); got != "0644 0:0 2" {
		t.Errorf("the other volume is %s", got)
	}
}

func TestARefreshMakesNoVolumeThatIsNotThere(t *testing.T) {
	s := setOf(t, place(t), podFiles, object1)
	must(t, s.Refresh(t.Context()))
	if _, err := os.Lstat(s.Dirs.Memory); err == nil {
		t.Error("a refresh before the first start made volumes")
	}
}

func TestReadersSeeOneVersionWhileFilesAreSwapped(t *testing.T) {
	w := writer{dir: t.TempDir(), gid: -1}
	version := func(n int) map[string]manifests.File {
		f := manifests.File{Data: fmt.Appendf(nil, "%d", n), Mode: 0o644}
		return map[string]manifests.File{"a": f, "d/b": f, fmt.Sprintf("only-%d", n%2): f}
	}
	must(t, w.write(version(0)))
	stop := make(chan struct{})
	var found, missed atomic.Int64
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// A program that wants one version opens ..data once, as the kubelet's protocol has it.
				dir, err := os.OpenRoot(filepath.Join(w.dir, "..data"))
				if os.IsNotExist(err) {
					missed.Add(1) // read the link and was put to sleep for longer than the files stay
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				found.Add(1)
				a, errA := dir.ReadFile("a")
				b, errB := dir.ReadFile("d/b")
				_ = dir.Close()
				if errA == nil && errB == nil && string(a) != string(b) {
					t.Errorf("one version has a=%s and b=%s", a, b)
				}
				if _, err := os.Stat(filepath.Join(w.dir, "a")); err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			}
		})
	}
	for n := range 200 {
		must(t, w.write(version(n)))
	}
	close(stop)
	group.Wait()
	if found.Load() < 100 || missed.Load() > found.Load() {
		t.Errorf("the files were there %d times and missing %d times", found.Load(), missed.Load())
	}
}

func TestWhatACrashLeftIsClearedByTheNextWrite(t *testing.T) {
	files := map[string]manifests.File{"a": {Data: []byte("x"), Mode: 0o600}}
	for name, leave := range map[string]func(dir string) error{
		"a staged directory": func(d string) error { return os.MkdirAll(filepath.Join(d, "..2020_x.1", "a"), 0o755) },
		"a new link":         func(d string) error { return os.Symlink("..2020_x.1", filepath.Join(d, "..data_tmp")) },
		"a link to nothing":  func(d string) error { return os.Symlink("..2020_x.1", filepath.Join(d, "..data")) },
		"names without data": func(d string) error { return os.Symlink("..data/b", filepath.Join(d, "b")) },
		"nothing":            func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := writer{dir: t.TempDir(), gid: -1}
			must(t, leave(w.dir))
			must(t, w.write(files))
			if diff := cmp.Diff(map[string]string{"a": "0600 0:0 x"}, tree(t, w.dir)); diff != "" {
				t.Error(diff)
			}
			entries, err := os.ReadDir(w.dir)
			if must(t, err); len(entries) != 3 {
				t.Errorf("the volume holds %v", entries)
			}
		})
	}
}

func TestAFileOutsideTheVolumeIsNeverWritten(t *testing.T) {
	root := t.TempDir()
	w := writer{dir: filepath.Join(root, "v"), gid: -1}
	must(t, os.Mkdir(w.dir, 0o755))
	for _, path := range []string{"../x", "../../x", "a/../../../x", "..", "."} {
		if err := w.write(map[string]manifests.File{path: {}}); err == nil {
			t.Errorf("%q was written", path)
		}
	}
	entries, err := os.ReadDir(root)
	if must(t, err); len(entries) != 1 {
		t.Errorf("beside the volume is %v", entries)
	}
}

func TestMountPointsInsideAReadOnlyVolumeAreMade(t *testing.T) {
	spec := `
containers:
- name: a
  volumeMounts:
  - {name: c, mountPath: /etc/app}
  - {name: e, mountPath: /etc/app/cache}
  - {name: e, mountPath: /etc/app/cache/inner}
  - {name: e, mountPath: /etc/app/cache-2}
  - {name: e, mountPath: /etc/application}
volumes: [{name: c, configMap: {name: c}}, {name: e, emptyDir: {}}]
`
	s := setOf(t, place(t), spec, object1)
	dir := ensure(t, s)["c"]
	must(t, setOf(t, s.Dirs, spec, object2).Refresh(t.Context()))
	for name, want := range map[string]bool{"cache": true, "cache-2": true, "cache/inner": false, "lication": false, "new": true, "old": false} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: there is not %t (%v)", name, want, err)
		}
	}
}
