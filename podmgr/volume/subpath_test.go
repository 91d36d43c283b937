package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

func container(mounts ...v1.VolumeMount) *v1.Container {
	return &v1.Container{Name: "a", VolumeMounts: mounts}
}

// canary is a directory of the host beside the pod's, with a file that no container may see.
func canary(t *testing.T, d Dirs) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(d.Disk), "host")
	must(t, os.MkdirAll(dir, 0o755))
	write(t, filepath.Join(dir, "canary"), "secret of the host")
	return dir
}

func TestSubPathsLeadIntoTheVolumeOnly(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, dir, host string)
		m    v1.VolumeMount
		want string // what is at the path, or "volume" for the volume itself
		err  string
	}{
		"none":                    {want: "volume"},
		"a directory":             {make: func(t *testing.T, d, _ string) { must(t, os.Mkdir(d+"/sub", 0o711)) }, m: v1.VolumeMount{SubPath: "sub"}, want: "0711 0:0 dir"},
		"a file":                  {make: func(t *testing.T, d, _ string) { write(t, d+"/f", "x") }, m: v1.VolumeMount{SubPath: "f"}, want: "0644 0:0 x"},
		"missing directories":     {m: v1.VolumeMount{SubPath: "x/y//z/"}, want: "0777 0:0 dir"},
		"the volume itself":       {m: v1.VolumeMount{SubPath: "."}, want: "0777 0:0 dir"},
		"a link inside":           {make: func(t *testing.T, d, _ string) { write(t, d+"/f", "x"); must(t, os.Symlink("f", d+"/l")) }, m: v1.VolumeMount{SubPath: "l"}, want: "0644 0:0 x"},
		"a link to nothing":       {make: func(t *testing.T, d, _ string) { must(t, os.Symlink("none", d+"/l")) }, m: v1.VolumeMount{SubPath: "l"}, err: `subPath of volume "v": it cannot be resolved inside the volume`},
		"a link out":              {make: func(t *testing.T, d, h string) { must(t, os.Symlink(h, d+"/l")) }, m: v1.VolumeMount{SubPath: "l/canary"}, err: "it cannot be resolved inside the volume"},
		"a relative link out":     {make: func(t *testing.T, d, _ string) { must(t, os.Symlink("../../host", d+"/l")) }, m: v1.VolumeMount{SubPath: "l/canary"}, err: "it cannot be resolved inside the volume"},
		"a magic link":            {make: func(t *testing.T, d, _ string) { must(t, os.Symlink("/proc/self/root", d+"/l")) }, m: v1.VolumeMount{SubPath: "l/etc"}, err: "it cannot be resolved inside the volume"},
		"a file in the way":       {make: func(t *testing.T, d, _ string) { write(t, d+"/f", "x") }, m: v1.VolumeMount{SubPath: "f/g"}, err: "it cannot be resolved inside the volume: not a directory"},
		"dots":                    {m: v1.VolumeMount{SubPath: "a/../../host"}, err: "unable to provision SubPath `a/../../host`: must not contain '..'"},
		"absolute":                {m: v1.VolumeMount{SubPath: "/etc"}, err: "error SubPath `/etc` must not be an absolute path"},
		"an expression":           {m: v1.VolumeMount{SubPathExpr: "logs/$(POD)"}, want: "0777 0:0 dir"},
		"an expression with dots": {m: v1.VolumeMount{SubPathExpr: "$(DOTS)/host"}, err: "must not contain '..'"},
		"an absolute expression":  {m: v1.VolumeMount{SubPathExpr: "$(ROOT)"}, err: "must not be an absolute path"},
		"an unknown variable":     {m: v1.VolumeMount{SubPathExpr: "$(NONE)/$(POD)"}, err: `missing value for "NONE"`},
		"an empty expression":     {m: v1.VolumeMount{SubPathExpr: "$(EMPTY)"}, want: "volume"},
		"a FIFO":                  {make: func(t *testing.T, d, _ string) { must(t, unix.Mkfifo(d+"/f", 0o600)) }, m: v1.VolumeMount{SubPath: "f"}, want: "0600 0:0 ?"},
	} {
		t.Run(name, func(t *testing.T) {
			defer unix.Umask(unix.Umask(0o077))
			s := setOf(t, place(t), "volumes: [{name: v, emptyDir: {}}]", "")
			host, paths := canary(t, s.Dirs), ensure(t, s)
			unix.Umask(0o022)
			if test.make != nil {
				test.make(t, paths["v"], host)
			}
			unix.Umask(0o077)
			test.m.Name = "v"
			env := []manifests.EnvVar{{Name: "POD", Value: "web"}, {Name: "DOTS", Value: ".."}, {Name: "ROOT", Value: "/etc"}, {Name: "EMPTY"}}
			for range 2 { // as at a restart of the container
				got, err := s.SubPath(paths, container(test.m), 0, env)
				if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				switch {
				case err != nil:
					if strings.Contains(err.Error(), s.Dirs.Disk) {
						t.Errorf("the error shows a path of the host: %v", err)
					}
				case test.want == "volume":
					if got != paths["v"] {
						t.Errorf("got %s", got)
					}
				case got != s.Dirs.subpath("a", 0) || look(t, got) != test.want:
					t.Errorf("%s is %s, want %s", got, look(t, got), test.want)
				case mountOf(t, got) == nil:
				}
			}
		})
	}
}

func TestASubPathIsBoundToTheInodeThatWasFound(t *testing.T) {
	s := setOf(t, place(t), "volumes: [{name: v, emptyDir: {}}]", "")
	host, paths := canary(t, s.Dirs), ensure(t, s)
	c := container(v1.VolumeMount{Name: "v"}, v1.VolumeMount{Name: "v", SubPath: "sub"})
	got, err := s.SubPath(paths, c, 1, nil)
	must(t, err)
	sub := filepath.Join(paths["v"], "sub")
	write(t, filepath.Join(sub, "f"), "mine")
	must(t, os.Rename(sub, sub+"-away"))
	must(t, os.Symlink(host, sub))
	if got := look(t, filepath.Join(got, "f")); !strings.HasSuffix(got, "mine") {
		t.Errorf("the file is %s", got)
	}
	if _, err := os.Lstat(filepath.Join(got, "canary")); err == nil {
		t.Error("the host is visible")
	}
}

func TestDirectoriesMadeForAGroupBelongToIt(t *testing.T) {
	for source, want := range map[string]string{"{}": "2777 0:4711 dir", "{medium: Memory}": "3777 0:4711 dir"} { // a tmpfs is sticky
		s := setOf(t, place(t), "securityContext: {fsGroup: 4711}\nvolumes: [{name: v, emptyDir: "+source+"}]", "")
		got, err := s.SubPath(ensure(t, s), container(v1.VolumeMount{Name: "v", SubPath: "x/y"}), 0, nil)
		must(t, err)
		if got := look(t, got); got != want {
			t.Errorf("emptyDir %s: it is %s, want %s", source, got, want)
		}
	}
}

func TestASubPathOfASecret(t *testing.T) {
	s := setOf(t, place(t), podFiles, object1)
	paths := ensure(t, s)
	c := container(v1.VolumeMount{Name: "s", SubPath: "pw"}, v1.VolumeMount{Name: "o", SubPath: "key"})
	file, err := s.SubPath(paths, c, 0, nil)
	must(t, err)
	empty, err := s.SubPath(paths, c, 1, nil)
	must(t, err)
	must(t, setOf(t, s.Dirs, podFiles, object2).Refresh(t.Context()))
	if got := look(t, file); got != "0400 0:0 hunter2" {
		t.Errorf("a running container sees %s: its subPath must not change", got)
	}
	if file, err = s.SubPath(paths, c, 0, nil); err != nil || look(t, file) != "0400 0:0 changed" {
		t.Errorf("a restarted one sees %s, %v", look(t, file), err)
	}
	if got := look(t, empty); got != "0755 0:0 dir" {
		t.Errorf("the subPath of a missing optional key is %s", got)
	}
	if entries, err := os.ReadDir(paths["o"]); err != nil || len(entries) != 2 {
		t.Errorf("the volume holds %v, %v: nothing may be made in it", entries, err)
	}
}

func TestReadFileStaysInTheVolume(t *testing.T) {
	s := setOf(t, place(t), "volumes: [{name: v, emptyDir: {}}]", "")
	host, paths := canary(t, s.Dirs), ensure(t, s)
	write(t, filepath.Join(paths["v"], "env"), "A='b'")
	must(t, os.Symlink("env", filepath.Join(paths["v"], "link")))
	must(t, os.Symlink(filepath.Join(host, "canary"), filepath.Join(paths["v"], "out")))
	must(t, unix.Mkfifo(filepath.Join(paths["v"], "fifo"), 0o600))
	must(t, os.WriteFile(filepath.Join(paths["v"], "large"), make([]byte, maxEnvFile+1), 0o600))
	read := ReadFile(paths)
	for _, path := range []string{"env", "link"} {
		if b, err := read("v", path); err != nil || string(b) != "A='b'" {
			t.Errorf("%s: %s, %v", path, b, err)
		}
	}
	for _, path := range []string{"out", "fifo", "large", "../../host/canary", "none", ""} {
		if b, err := read("v", path); err == nil {
			t.Errorf("%s: %s", path, b)
		}
	}
	if _, err := read("v", "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is %v", err)
	}
	if _, err := read("other", "env"); err == nil {
		t.Error("a volume that does not exist was read")
	}
}

// TestAContainerThatSwapsDirectoriesAndLinksNeverSeesTheHost plays the attack of CVE-2021-25741: while a container starts,
// another one of the pod exchanges the directory that subPath names with a link to the host, as fast as it can.
func TestAContainerThatSwapsDirectoriesAndLinksNeverSeesTheHost(t *testing.T) {
	s := setOf(t, place(t), "volumes: [{name: v, emptyDir: {}}]", "")
	host, paths := canary(t, s.Dirs), ensure(t, s)
	dir := paths["v"]
	for _, p := range []string{"a", "a/b", "a/b/c"} {
		must(t, os.Mkdir(filepath.Join(dir, p), 0o777))
	}
	must(t, os.MkdirAll(filepath.Join(host, "b/c"), 0o755))
	write(t, filepath.Join(host, "b/c/canary"), "secret of the host")
	must(t, os.Symlink(host, filepath.Join(dir, "absolute")))
	must(t, os.Symlink("../../host", filepath.Join(dir, "relative")))

	iterations := 10_000
	if testing.Short() {
		iterations = 200
	}
	stop := make(chan struct{})
	var attacker sync.WaitGroup
	swaps := 0
	attacker.Go(func() {
		for {
			for _, link := range []string{"absolute", "relative"} {
				select {
				case <-stop:
					return
				default:
				}
				old, evil := filepath.Join(dir, "a"), filepath.Join(dir, link)
				_ = unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, evil, unix.RENAME_EXCHANGE)
				_ = unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, evil, unix.RENAME_EXCHANGE)
				swaps++
			}
		}
	})
	c := container(v1.VolumeMount{Name: "v", SubPath: "a/b/c"}, v1.VolumeMount{Name: "v", SubPath: "a/new/dir"}, v1.VolumeMount{Name: "v", SubPath: "a"})
	good, refused := 0, 0
	for i := range iterations {
		got, err := s.SubPath(paths, c, i%3, nil)
		if err != nil {
			refused++
			continue
		}
		good++
		for _, name := range []string{"canary", "b/c/canary"} {
			if _, err := os.Lstat(filepath.Join(got, name)); err == nil {
				t.Fatalf("after %d tries the host is visible at %s", i, got)
			}
		}
	}
	close(stop)
	attacker.Wait()
	if _, err := os.Lstat(filepath.Join(host, "new")); err == nil {
		t.Error("a directory was made on the host")
	}
	t.Logf("%d starts, %d refused, %d swaps", good, refused, swaps)
	if good < iterations/100 || swaps < iterations/100 {
		t.Errorf("the race was not run: %d starts, %d swaps", good, swaps)
	}
}
