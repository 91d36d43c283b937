package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func TestLatencyFromRenameToSnapshot(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.want("")
	var start time.Time
	measure := func(what string, do func(i int)) {
		var took []time.Duration
		for i := range 40 {
			time.Sleep(30 * time.Millisecond)
			for r.next(time.Millisecond) {
				continue
			}
			start = time.Now()
			do(i)
			if !r.next(5 * time.Second) {
				t.Fatalf("no snapshot after %s", what)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		p50 := took[len(took)/2]
		t.Logf("%s → snapshot: p50 %s, p90 %s, max %s", what, p50, took[len(took)*9/10], took[len(took)-1])
		if p50 > 50*time.Millisecond {
			t.Errorf("%s: p50 is %s", what, p50)
		}
	}
	measure("rename", func(i int) { r.drop("web.yaml", manifest("web", fmt.Sprint("r", i))) })
	measure("write in place", func(i int) { r.write("web.yaml", manifest("web", fmt.Sprint("w", i))) })
	measure("close after slow writing", func(i int) {
		content := manifest("web", fmt.Sprint("s", i))
		f, err := os.Create(r.path("web.yaml"))
		must(t, err)
		for _, part := range []string{content[:len(content)/2], content[len(content)/2:]} {
			_, err = f.WriteString(part)
			must(t, err)
			if r.next(2 * arrival) {
				t.Fatalf("a snapshot while the file is written: %q %v", r.state(), r.last.Problems)
			}
		}
		_, err = f.WriteString("\n")
		must(t, err)
		start = time.Now()
		must(t, f.Close())
	})
	measure("create or remove", func(i int) {
		if i%2 == 0 {
			r.drop("b.yaml", manifest("b", "v1"))
		} else {
			must(t, os.Remove(r.path("b.yaml")))
		}
	})
}

func TestTenThousandJunkFilesAreScannedFast(t *testing.T) {
	cfg := config(tempDir(t))
	must(t, os.Mkdir(cfg.Dir, 0o755))
	for i := range 5000 {
		put(t, filepath.Join(cfg.Dir, fmt.Sprintf("junk%d.yaml", i)), "\x00junk")
		put(t, filepath.Join(cfg.Dir, fmt.Sprintf("junk%d.txt", i)), "junk")
	}
	put(t, filepath.Join(cfg.Dir, "web.yaml"), manifest("web", "v1"))
	start := time.Now()
	r := newRig(t, cfg)
	r.want("web=v1", "more problems are not listed")
	first := time.Since(start)
	s := newScanner(cfg.Dir, isManifest)
	s.decode = cfg.Decode
	_, _ = s.scan(time.Now(), nil, nil)
	time.Sleep(2 * racy)
	_, _ = s.scan(time.Now(), nil, nil)
	start = time.Now()
	l, _ := s.scan(time.Now(), nil, nil)
	again := time.Since(start)
	t.Logf("first look %s, an unchanged one %s", first, again)
	if len(l.files) != 5001 || first > 5*time.Second || again > time.Second {
		t.Errorf("%d files, first look %s, an unchanged one %s", len(l.files), first, again)
	}
	r.drop("db.yaml", manifest("db", "v1"))
	r.want("db=v1 web=v1", "more problems are not listed")
}

// countLooks counts scans; read it after the source was stopped.
func countLooks(looks *atomic.Int64) func(*Source) {
	return func(s *Source) {
		match := s.loop.scanner.match
		s.loop.scanner.match = func(n string) bool {
			if n == "count" {
				looks.Add(1)
			}
			return match(n)
		}
	}
}

func TestADirectoryIsLeftAloneWhileNothingHappensInIt(t *testing.T) {
	var looks atomic.Int64
	r := newRig(t, config(tempDir(t)), countLooks(&looks))
	r.write("count", "")
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	r.still(500 * time.Millisecond) // for the store and the second reading of a young file
	before := looks.Load()
	for i := range 50 {
		put(t, filepath.Join(filepath.Dir(r.dir), fmt.Sprint("neighbour", i)), "")
		time.Sleep(10 * time.Millisecond)
	}
	if n := looks.Load() - before; n != 0 {
		t.Errorf("%d looks", n)
	}
}

func TestAStormOfEventsIsCoalesced(t *testing.T) {
	var looks atomic.Int64
	r := newRig(t, config(tempDir(t)), countLooks(&looks))
	r.write("count", "")
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	touches := 0
	now := time.Now()
	for end := now.Add(time.Second); time.Now().Before(end); touches++ {
		must(t, os.Chtimes(r.path("web.yaml"), now, now.Add(time.Duration(touches))))
	}
	r.drop("web.yaml", manifest("web", "v2"))
	r.want("web=v2")
	r.stop()
	t.Logf("%d touches in a second, %d looks", touches, looks.Load())
	if looks.Load() > 400 || r.restarts != 1 {
		t.Errorf("%d looks, %d restarts", looks.Load(), r.restarts)
	}
}

func TestWithoutInotifyTheDirectoryIsPolled(t *testing.T) {
	cfg := config(tempDir(t))
	cfg.Poll = 20 * time.Millisecond
	var log strings.Builder
	cfg.Log = zerolog.New(&log)
	r := newRig(t, cfg, func(s *Source) {
		s.loop.open = func() (*watches, error) {
			if _, err := os.Stat(cfg.Dir + ".heal"); err != nil {
				return nil, os.NewSyscallError("inotify_init1", unix.EMFILE)
			}
			return newWatches()
		}
	})
	r.want("")
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	r.write("web.yaml", manifest("web", "v2"))
	r.want("web=v2")
	target := cfg.Dir + ".target"
	put(t, target, manifest("db", "v1"))
	must(t, os.Symlink(target, r.path("db.yaml")))
	r.want("db=v1 web=v2")
	r.still(2 * racy) // until the young file was read again
	put(t, cfg.Dir+".heal", "")
	r.still(300 * time.Millisecond)
	put(t, target, manifest("db", "v2"))
	r.want("db=v2 web=v2")
	r.drop("db.yaml", manifest("db", "v3"))
	r.want("db=v3 web=v2")
	r.stop()
	if n := strings.Count(log.String(), "max_user_instances=512"); n != 1 {
		t.Errorf("the hint was logged %d times:\n%s", n, &log)
	}
	if !strings.Contains(log.String(), "file events work again") {
		t.Error("the return of events was not logged")
	}
}

const childEnv = "WATCHER_DIR_TEST_CHILD"

// TestTheKernelsLimitOfInstances runs this test binary in a user namespace that allows no inotify instance.
func TestTheKernelsLimitOfInstances(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+tempDir(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "max_user_instances") {
		t.Errorf("no hint in:\n%s", out)
	}
}

func childWithoutInotify() int {
	fail := func(err error) int { fmt.Println(err); return 1 }
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0); err != nil {
		return fail(err)
	}
	if _, err := newWatches(); !errors.Is(err, unix.EMFILE) {
		return fail(fmt.Errorf("an inotify instance was allowed: %w", err))
	}
	cfg := config(os.Getenv(childEnv))
	cfg.Poll, cfg.Log = 20*time.Millisecond, zerolog.New(os.Stdout)
	s, err := New(cfg)
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out := make(chan manifests.Snapshot)
	go func() { _ = s.Run(ctx, out) }()
	<-out
	if err := os.WriteFile(filepath.Join(cfg.Dir, "web.yaml"), []byte(manifest("web", "v1")), 0o644); err != nil {
		return fail(err)
	}
	select {
	case snap := <-out:
		if len(snap.Pods) == 1 {
			return 0
		}
		return fail(fmt.Errorf("%v", snap))
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

func TestALeaseHarmsNeitherWriterNorAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, "x")
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	must(t, err)
	defer unix.Close(fd)
	if written, known := lease(fd); written || !known {
		t.Fatalf("nobody writes: written %v, known %v", written, known)
	}
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	if written, known := lease(fd); !written || !known {
		t.Fatalf("somebody writes: written %v, known %v", written, known)
	}
	must(t, w.Close())

	// The worst case: a writer comes while the lease is held, and the kernel sends SIGIO.
	if signal.Ignored(unix.SIGIO) {
		t.Fatal("SIGIO is ignored already: the test would show nothing")
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	must(t, err)
	opened := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("the lease was not held: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	must(t, err)
	must(t, <-opened)
}

func TestWatchTellsOfCompleteArchives(t *testing.T) {
	dir := tempDir(t)
	must(t, os.Mkdir(dir, 0o755))
	put(t, filepath.Join(dir, "first.tar"), "1")
	put(t, filepath.Join(dir, "notes.txt"), "1")
	ctx, cancel := context.WithCancel(context.Background())
	got, done := make(chan string, 10), make(chan error)
	go func() {
		done <- Watch(ctx, dir, IsImageArchive, zerolog.Nop(), func(_ context.Context, f File) {
			got <- fmt.Sprintf("%s %d", filepath.Base(f.Path), f.Version.Size)
		})
	}()
	want := func(s string) {
		t.Helper()
		select {
		case g := <-got:
			if g != s {
				t.Errorf("told of %q, want %q", g, s)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("never told of %q", s)
		}
	}
	want("first.tar 1")
	f, err := os.Create(filepath.Join(dir, "big.tar.zst"))
	must(t, err)
	for range 20 {
		_, err = f.WriteString("0123456789")
		must(t, err)
		time.Sleep(5 * time.Millisecond)
	}
	if len(got) > 0 {
		t.Fatalf("told of %q while it is written", <-got)
	}
	must(t, f.Close())
	want("big.tar.zst 200")
	must(t, os.Rename(dir, dir+".away"))
	must(t, os.Rename(dir+".away", dir))
	put(t, filepath.Join(dir, "first.tar"), "12")
	want("first.tar 2")
	must(t, os.Remove(filepath.Join(dir, "first.tar")))
	time.Sleep(50 * time.Millisecond)
	put(t, filepath.Join(dir, "first.tar"), "123")
	want("first.tar 3")
	cancel()
	must(t, <-done)
	if len(got) > 0 {
		t.Errorf("told of %q as well", <-got)
	}
}
