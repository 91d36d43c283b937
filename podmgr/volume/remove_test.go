package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

func gone(t *testing.T, d Dirs) {
	t.Helper()
	for _, dir := range []string{d.Disk, d.Memory} {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", dir, err)
		}
	}
	for _, p := range mountPoints() {
		if strings.HasPrefix(p, filepath.Dir(d.Disk)+"/disk") || strings.HasPrefix(p, d.Memory) {
			t.Errorf("%s is still mounted", p)
		}
	}
}

func TestRemoveTakesAllVolumesAway(t *testing.T) {
	s := setOf(t, place(t), "securityContext: {fsGroup: 4711}"+podFiles+`
- {name: e, emptyDir: {}}
- {name: m, emptyDir: {medium: Memory}}
`, object1)
	paths := ensure(t, s)
	for _, name := range []string{"e", "m"} {
		must(t, os.MkdirAll(filepath.Join(paths[name], "x/y"), 0o755))
		write(t, filepath.Join(paths[name], "x/y/z"), "z")
	}
	c := container(v1.VolumeMount{Name: "e", SubPath: "x"}, v1.VolumeMount{Name: "s", SubPath: "pw"}, v1.VolumeMount{Name: "m", SubPath: "x"})
	for n := range c.VolumeMounts {
		if _, err := s.SubPath(paths, c, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	must(t, Remove(t.Context(), s.Dirs))
	gone(t, s.Dirs)
	must(t, Remove(t.Context(), s.Dirs)) // again
	must(t, Remove(t.Context(), Dirs{Disk: "/nonexistent/a/b", Memory: ""}))
}

func TestRemoveNeverReachesTheHost(t *testing.T) {
	s := setOf(t, place(t), "volumes: [{name: v, emptyDir: {}}]", "")
	host, dir := canary(t, s.Dirs), ensure(t, s)["v"]
	for i, target := range []string{host, "/", "/etc", "../../../host", "..", ".", filepath.Join(host, "canary"), "/proc/self/root"} {
		must(t, os.Symlink(target, filepath.Join(dir, fmt.Sprintf("link%d", i))))
	}
	must(t, os.Mkdir(filepath.Join(dir, "mounted"), 0o755))
	must(t, unix.Mount(host, filepath.Join(dir, "mounted"), "", unix.MS_BIND, ""))
	must(t, os.Link(filepath.Join(host, "canary"), filepath.Join(dir, "hard")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, Remove(t.Context(), s.Dirs))
	gone(t, s.Dirs)
	if got := look(t, filepath.Join(host, "canary")); got != "0644 0:0 secret of the host" {
		t.Errorf("the canary is %s", got)
	}
}

// TestDeletingStopsAtAMount holds the last line of defence by itself: a mount that the unmounting did not see.
func TestDeletingStopsAtAMount(t *testing.T) {
	d := place(t)
	host := canary(t, d)
	must(t, os.MkdirAll(filepath.Join(d.Disk, "v/mounted"), 0o755))
	must(t, unix.Mount(host, filepath.Join(d.Disk, "v/mounted"), "", unix.MS_BIND, ""))
	err := removeTree(t.Context(), d.Disk)
	if err == nil || !strings.Contains(err.Error(), `"mounted" is still mounted`) {
		t.Errorf("error %v", err)
	}
	if got := look(t, filepath.Join(host, "canary")); got != "0644 0:0 secret of the host" {
		t.Errorf("the canary is %s", got)
	}
}

func TestAContainerThatSwapsDirectoriesWhileTheyAreDeletedReachesNothing(t *testing.T) {
	d := place(t)
	host := canary(t, d)
	for round := range 3 {
		dir := filepath.Join(d.Disk, "v")
		for i := range 60 {
			must(t, os.MkdirAll(filepath.Join(dir, fmt.Sprintf("d%d", i), "sub"), 0o755))
		}
		must(t, os.Symlink(host, filepath.Join(dir, "evil")))
		stop := make(chan struct{})
		var attacker sync.WaitGroup
		attacker.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, fmt.Sprintf("d%d", i%60)), unix.AT_FDCWD, filepath.Join(dir, "evil"), unix.RENAME_EXCHANGE)
				}
			}
		})
		err := removeTree(t.Context(), d.Disk)
		close(stop)
		attacker.Wait()
		if err != nil {
			t.Logf("round %d: %v", round, err) // the next call has it
			must(t, removeTree(t.Context(), d.Disk))
		}
		if _, err := os.Lstat(filepath.Join(host, "canary")); err != nil {
			t.Fatalf("round %d: the canary is gone: %v", round, err)
		}
	}
}

func TestDirectoriesNestedDeeperThanAProcessMayOpenFilesAreDeleted(t *testing.T) {
	d := place(t)
	const deep = 1500 // of names that make a path of 15 kB
	must(t, os.MkdirAll(filepath.Join(d.Disk, "v"), 0o755))
	fd, err := unix.Open(filepath.Join(d.Disk, "v"), unix.O_DIRECTORY|unix.O_RDONLY, 0)
	must(t, err)
	for range deep {
		must(t, unix.Mkdirat(fd, "directory1", 0o755))
		f, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o600)
		must(t, err)
		_ = unix.Close(f)
		next, err := unix.Openat(fd, "directory1", unix.O_DIRECTORY|unix.O_RDONLY, 0)
		must(t, err)
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	low := old
	low.Cur = 256
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }()
	must(t, Remove(t.Context(), d))
	gone(t, d)
}

func TestManyFilesOfOneDirectoryAreDeleted(t *testing.T) {
	d := place(t)
	must(t, os.MkdirAll(filepath.Join(d.Disk, "v"), 0o755))
	for i := range 3 * removeBatch {
		write(t, filepath.Join(d.Disk, "v", fmt.Sprint(i)), "")
	}
	must(t, Remove(t.Context(), d))
	gone(t, d)
}

func TestDeletingEndsWithItsContext(t *testing.T) {
	d := place(t)
	must(t, os.MkdirAll(filepath.Join(d.Disk, "v"), 0o755))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := removeTree(ctx, d.Disk); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestABusyMountIsDetached(t *testing.T) {
	s := setOf(t, place(t), "volumes: [{name: m, emptyDir: {medium: Memory}}]", "")
	f, err := os.Create(filepath.Join(ensure(t, s)["m"], "f"))
	must(t, err)
	defer func() { _ = f.Close() }()
	must(t, Remove(t.Context(), s.Dirs))
	gone(t, s.Dirs)
}

// TestAStuckMountCostsSecondsAndTheOthersGo plays a mount that does not answer: umount2 does not return until the test ends.
func TestAStuckMountCostsSecondsAndTheOthersGo(t *testing.T) {
	for name, test := range map[string]struct {
		detachWorks bool
		want        string
	}{
		"one that can be detached": {true, ""},
		"one that cannot":          {false, "stuck: it does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := setOf(t, place(t), "volumes: [{name: stuck, emptyDir: {medium: Memory}}, {name: b, emptyDir: {medium: Memory}}]", "")
			paths := ensure(t, s)
			release := make(chan struct{})
			var hung atomic.Int64
			defer func() {
				close(release)
				for hung.Load() > 0 {
					time.Sleep(time.Millisecond)
				}
			}()
			u := unmounter{wait: 50 * time.Millisecond, unmount: func(target string, flags int) error {
				if strings.HasSuffix(target, "stuck") && (flags&unix.MNT_DETACH == 0 || !test.detachWorks) {
					hung.Add(1)
					defer hung.Add(-1)
					<-release
					return unix.EINTR
				}
				return unix.Unmount(target, flags)
			}}
			begin := time.Now()
			err := u.below(t.Context(), s.Dirs.Memory)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			for _, p := range mountPoints() {
				if p == paths["b"] || p == paths["stuck"] && test.detachWorks {
					t.Errorf("%s is still mounted", p)
				}
			}
		})
	}
}
