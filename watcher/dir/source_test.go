package dir

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
)

func TestEveryWayOfSavingChangesThePodOnce(t *testing.T) {
	const name = "web.yaml"
	sh := func(script string) func(*rig, string) {
		return func(r *rig, content string) {
			cmd := exec.Command("sh", "-ec", script)
			cmd.Dir, cmd.Env = r.dir, append(os.Environ(), "CONTENT="+content, "OUT="+filepath.Dir(r.dir))
			if out, err := cmd.CombinedOutput(); err != nil {
				r.t.Fatalf("%s: %v\n%s", script, err, out)
			}
		}
	}
	tests := []struct {
		name string
		save func(r *rig, content string)
	}{
		{"mv", sh(`printf %s "$CONTENT" >"$OUT/new"; mv "$OUT/new" web.yaml`)},
		{"cp", sh(`printf %s "$CONTENT" >"$OUT/new"; cp "$OUT/new" web.yaml`)},
		{"cp --remove-destination", sh(`printf %s "$CONTENT" >"$OUT/new"; cp --remove-destination "$OUT/new" web.yaml`)},
		{"install", sh(`printf %s "$CONTENT" >"$OUT/new"; install -m 644 "$OUT/new" web.yaml`)},
		{"tee", sh(`printf %s "$CONTENT" | tee web.yaml >/dev/null`)},
		{"sed -i", sh(`app=$(printf %s "$CONTENT" | sed -n 's/.*app: "\(.*\)"}.*/\1/p'); sed -i "s/app: \".*\"/app: \"$app\"/" web.yaml`)},
		{"sed -i with a backup", sh(`app=$(printf %s "$CONTENT" | sed -n 's/.*app: "\(.*\)"}.*/\1/p'); sed -i.bak "s/app: \".*\"/app: \"$app\"/" web.yaml`)},
		{"ln -sfn", sh(`printf %s "$CONTENT" >"$OUT/new.$$"; ln -sfn "$OUT/new.$$" web.yaml`)},
		{"git checkout's unlink and create", func(r *rig, content string) {
			must(r.t, os.Remove(r.path(name)))
			r.write(name, content)
		}},
		{"vim, backupcopy=no", func(r *rig, content string) { // as strace shows it
			swp, probe := r.path("."+name+".swp"), r.path("4913")
			put(r.t, swp, "b0VIM 9.0")
			put(r.t, probe, "")
			must(r.t, os.Remove(probe))
			must(r.t, os.Rename(r.path(name), r.path(name+"~")))
			f, err := os.OpenFile(r.path(name), os.O_WRONLY|os.O_CREATE, 0o644)
			must(r.t, err)
			_, err = f.WriteString(content)
			must(r.t, err)
			must(r.t, f.Sync())
			must(r.t, f.Close())
			must(r.t, os.Remove(r.path(name+"~")))
			must(r.t, os.Remove(swp))
		}},
		{"vim, backupcopy=yes", func(r *rig, content string) {
			old, err := os.ReadFile(r.path(name))
			must(r.t, err)
			put(r.t, r.path(name+"~"), string(old))
			f, err := os.OpenFile(r.path(name), os.O_WRONLY|os.O_TRUNC, 0o644)
			must(r.t, err)
			time.Sleep(5 * time.Millisecond) // the file is empty, and held
			_, err = f.WriteString(content)
			must(r.t, err)
			must(r.t, f.Sync())
			must(r.t, f.Close())
			must(r.t, os.Remove(r.path(name+"~")))
		}},
		{"real vim", sh(`app=$(printf %s "$CONTENT" | sed -n 's/.*app: "\(.*\)"}.*/\1/p'); vim -u NONE -N -es -c 'set nobackup writebackup backupcopy=no' -c "%s/app: \".*\"/app: \"$app\"/e" -c 'w!' -c 'q!' web.yaml </dev/null >/dev/null 2>&1 || test $? -eq 1`)},
		{"real vim with backupcopy=yes", sh(`app=$(printf %s "$CONTENT" | sed -n 's/.*app: "\(.*\)"}.*/\1/p'); vim -u NONE -N -es -c 'set nobackup writebackup backupcopy=yes' -c "%s/app: \".*\"/app: \"$app\"/e" -c 'w!' -c 'q!' web.yaml </dev/null >/dev/null 2>&1 || test $? -eq 1`)},
		{"a slow writer, byte by byte", func(r *rig, content string) {
			f, err := os.OpenFile(r.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
			must(r.t, err)
			for i := range content {
				_, err := f.WriteString(content[i : i+1])
				must(r.t, err)
				r.next(2 * time.Millisecond)
			}
			must(r.t, f.Close())
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, config(tempDir(t)))
			r.want("")
			r.drop(name, manifest("web", "v1"))
			r.want("web=v1")
			for range 5 { // saved as it is: nothing happens
				tt.save(r, manifest("web", "v1"))
				r.still(30 * time.Millisecond)
			}
			if r.restarts != 0 {
				t.Fatalf("%d restarts by saving what was there", r.restarts)
			}
			tt.save(r, manifest("web", "v2"))
			r.want("web=v2")
			r.still(150 * time.Millisecond)
			if r.restarts != 1 {
				t.Fatalf("%d restarts by one change", r.restarts)
			}
		})
	}
}

func TestOtherFilesAreIgnored(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.want("")
	for _, name := range []string{
		".web.yaml", "web.yaml~", "#web.yaml#", ".#web.yaml", ".web.yaml.swp", "4913", "web.yaml.bak", "web.yaml.orig", "web",
		"web.yaml.tmp", "README.md", "web.YAML.rpmnew",
	} {
		r.write(name, manifest("web", "v1"))
	}
	must(t, os.Mkdir(r.path("sub"), 0o755))
	put(t, r.path("sub/web.yaml"), manifest("web", "v1"))
	r.still(100 * time.Millisecond)
	for _, name := range []string{"a.yml", "b.yaml", "c.json"} {
		r.write(name, manifest(name[:1], "v1"))
	}
	r.want("a=v1 b=v1 c=v1")
}

func TestWhatIsNoFileIsAProblemAndStopsNothing(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.want("")
	must(t, unix.Mkfifo(r.path("fifo.yaml"), 0o644))
	must(t, unix.Mknod(r.path("null.yaml"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(r.path("socket.yaml"), unix.S_IFSOCK|0o600, 0))
	must(t, os.Mkdir(r.path("dir.yaml"), 0o755))
	must(t, os.Symlink("nowhere", r.path("dangling.yaml")))
	must(t, os.Symlink("loop.yaml", r.path("loop.yaml")))
	must(t, os.Symlink("fifo.yaml", r.path("tofifo.yaml")))
	f, err := os.Create(r.path("sparse.yaml"))
	must(t, err)
	must(t, f.Truncate(1<<30))
	must(t, f.Close())
	r.write("good.yaml", manifest("good", "v1"))
	r.want("good=v1", "fifo.yaml: is a FIFO", "null.yaml: is a device", "socket.yaml: is a socket", "dir.yaml: is a directory",
		"dangling.yaml: is a symbolic link to a file that does not exist", "loop.yaml: is a symbolic link that leads back",
		"tofifo.yaml: is a FIFO", "sparse.yaml: is too large: 1073741824 bytes")
	for _, p := range r.last.Problems {
		if p.Hint == "" || p.Kept {
			t.Errorf("%s: no hint, or kept", p)
		}
	}
	put(t, filepath.Join(r.dir, "nowhere"), manifest("late", "v1"))
	r.want("good=v1 late=v1", "fifo.yaml: is a FIFO")
}

func TestAFileThatBecomesAFIFOKeepsItsPod(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	must(t, unix.Mkfifo(r.path("new"), 0o644))
	must(t, os.Rename(r.path("new"), r.path("web.yaml")))
	r.want("web=v1", "is a FIFO")
	if p, _ := r.problem("FIFO"); !p.Kept {
		t.Error("the problem does not say that the pod is kept")
	}
}

func TestWorldWritableIsAWarning(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	must(t, os.Chmod(r.path("web.yaml"), 0o666))
	r.want("web=v1", "web.yaml: is writable by everyone")
	must(t, os.Chmod(r.path("web.yaml"), 0o644))
	r.want("web=v1")
	must(t, os.Chmod(r.dir, 0o777))
	r.want("web=v1", "manifests: is writable by everyone")
}

func TestAWriterDelaysOnlyItsFile(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	half := manifest("web", "v2")
	f, err := os.OpenFile(r.path("web.yaml"), os.O_WRONLY|os.O_TRUNC, 0o644)
	must(t, err)
	_, err = f.WriteString(half[:40])
	must(t, err)
	r.still(100 * time.Millisecond)
	r.drop("db.yaml", manifest("db", "v1"))
	r.want("db=v1 web=v1")
	_, err = f.WriteString(half[40:])
	must(t, err)
	r.still(50 * time.Millisecond)
	must(t, f.Close())
	r.want("db=v1 web=v2")
}

func TestAFileMovedIntoPlaceIsTakenAlthoughItIsStillOpen(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.want("")
	tmp := filepath.Join(filepath.Dir(r.dir), "new")
	f, err := os.Create(tmp)
	must(t, err)
	defer f.Close()
	_, err = f.WriteString(manifest("web", "v1"))
	must(t, err)
	must(t, os.Rename(tmp, r.path("web.yaml")))
	r.want("web=v1")
}

func TestWithoutLeasesAFileIsReadWhenItIsStill(t *testing.T) {
	noLeases := func(s *Source) { s.loop.scanner.lease = func(int) (bool, bool) { return false, false } }
	r := newRig(t, config(tempDir(t)), noLeases)
	r.want("")
	content := manifest("web", "v1")
	start := time.Now()
	f, err := os.Create(r.path("web.yaml"))
	must(t, err)
	for i := range 4 {
		_, err = f.WriteString(content[i*len(content)/4 : (i+1)*len(content)/4])
		must(t, err)
		r.next(100 * time.Millisecond)
	}
	must(t, f.Close())
	r.want("web=v1")
	if d := time.Since(start); d < 300*time.Millisecond+still {
		t.Errorf("read after %s, before it was still", d)
	}
	if r.restarts != 0 || len(r.last.Problems) != 0 {
		t.Error("half a manifest was read")
	}
	start = time.Now()
	r.drop("db.yaml", manifest("db", "v1"))
	r.want("db=v1 web=v1")
	if d := time.Since(start); d > still/2 {
		t.Errorf("a file moved into place took %s", d)
	}
}

func TestConfigMapLayoutIsSwappedInOneStep(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	r.want("")
	version := func(dir, app string) {
		must(t, os.Mkdir(r.path(dir), 0o755))
		put(t, r.path(dir+"/a.yaml"), manifest("a", app))
		put(t, r.path(dir+"/b.yaml"), manifest("b", app))
		must(t, os.Symlink(dir, r.path("..data_tmp")))
		must(t, os.Rename(r.path("..data_tmp"), r.path("..data")))
	}
	version("..1", "v1")
	must(t, os.Symlink("..data/a.yaml", r.path("a.yaml")))
	must(t, os.Symlink("..data/b.yaml", r.path("b.yaml")))
	r.want("a=v1 b=v1")
	version("..2", "v2")
	for r.next(2 * time.Second); r.state() == "a=v1 b=v1"; r.next(2 * time.Second) {
		continue // other snapshots of the same pods
	}
	if got := r.state(); got != "a=v2 b=v2" {
		t.Fatalf("the swap was seen half: %s", got)
	}
}

func TestTheTargetOfASymbolicLinkIsWatched(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	target := filepath.Join(t.TempDir(), "target")
	put(t, target, manifest("web", "v1"))
	r.want("")
	must(t, os.Symlink(target, r.path("web.yaml")))
	r.want("web=v1")
	r.still(2 * racy) // until the young file was read again
	r.write("other", "")
	r.still(2 * racy)
	put(t, target, manifest("web", "v2"))
	r.want("web=v2")
	put(t, target+".new", manifest("web", "v3"))
	must(t, os.Rename(target+".new", target))
	r.want("web=v3")
}

func TestTwoLinksToOneTargetAreBothWatched(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	target := filepath.Join(t.TempDir(), "target")
	put(t, target, manifest("web", "v1"))
	r.want("")
	must(t, os.Symlink(target, r.path("a.yaml")))
	must(t, os.Symlink(target, r.path("b.yaml")))
	r.want("web=v1", "web")
	must(t, os.Remove(r.path("a.yaml")))
	r.want("web=v1")
	r.still(2 * racy)
	put(t, target, manifest("web", "v2"))
	r.want("web=v2")
	must(t, os.Symlink(target+".other", r.path("new")))
	put(t, target+".other", manifest("web", "v3"))
	must(t, os.Rename(r.path("new"), r.path("b.yaml")))
	r.want("web=v3")
	r.still(2 * racy)
	put(t, target+".other", manifest("web", "v4"))
	r.want("web=v4")
}

func TestADirectoryThatIsALinkMayBeSwapped(t *testing.T) {
	base := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		must(t, os.MkdirAll(filepath.Join(base, "releases", v), 0o755))
		put(t, filepath.Join(base, "releases", v, "web.yaml"), manifest("web", v))
	}
	must(t, os.Symlink("releases/v1", filepath.Join(base, "current")))
	must(t, os.MkdirAll(filepath.Join(base, "etc"), 0o755))
	must(t, os.Symlink("../current", filepath.Join(base, "etc", "manifests")))
	r := newRig(t, config(filepath.Join(base, "etc", "manifests")))
	r.want("web=v1")
	if out, err := exec.Command("ln", "-sfn", "releases/v2", filepath.Join(base, "current")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	start := time.Now()
	r.want("web=v2")
	if d := time.Since(start); d > time.Second {
		t.Errorf("the swap took %s to be seen", d)
	}
	r.write("db.yaml", manifest("db", "v1"))
	r.want("db=v1 web=v2")
}

func TestADirectoryMovedAwayAndBackChangesNothing(t *testing.T) {
	r := newRig(t, config(tempDir(t)))
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		r.drop(n+".yaml", manifest(n, "v1"))
	}
	const all = "a=v1 b=v1 c=v1 d=v1 e=v1"
	r.want(all)
	must(t, os.Rename(r.dir, r.dir+".away"))
	r.want(all, "does not exist")
	r.still(600 * time.Millisecond)
	must(t, os.Rename(r.dir+".away", r.dir))
	start := time.Now()
	r.want(all)
	if d := time.Since(start); d > time.Second {
		t.Errorf("its return took %s to be seen", d)
	}
	r.still(500 * time.Millisecond)
	if r.restarts != 0 {
		t.Errorf("%d restarts", r.restarts)
	}
	r.drop("a.yaml", manifest("a", "v2"))
	r.want("a=v2 b=v1 c=v1 d=v1 e=v1")
}

func TestADirectoryDeletedAndMadeAnewWaits(t *testing.T) {
	cfg := config(tempDir(t))
	r := newRig(t, cfg)
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	must(t, os.RemoveAll(r.dir))
	r.want("web=v1", "does not exist")
	must(t, os.Mkdir(r.dir, 0o755))
	r.want("web=v1", "gone at once")
	r.still(cfg.MassRemovalGrace / 2)
	r.want("")
}

func TestAnUnmountedDirectoryIsUnknown(t *testing.T) {
	cfg := config(tempDir(t))
	must(t, os.Mkdir(cfg.Dir, 0o755))
	mount := func() { must(t, unix.Mount("tmpfs", cfg.Dir, "tmpfs", 0, "size=1m,mode=0755")) }
	mount()
	t.Cleanup(func() { _ = unix.Unmount(cfg.Dir, unix.MNT_DETACH) })
	r := newRig(t, cfg)
	r.drop2("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	r.still(500 * time.Millisecond) // until nothing but the unmount asks for a look
	must(t, unix.Unmount(cfg.Dir, unix.MNT_DETACH))
	r.want("web=v1", "the file system that was mounted here is gone")
	r.still(2 * cfg.MassRemovalGrace)
	r.stop()
	r = newRig(t, cfg) // the same after a restart of the agent
	r.want("web=v1", "the file system that was mounted here is gone")
	mount()
	put(t, filepath.Join(cfg.Dir, "web.yaml"), manifest("web", "v2"))
	r.want("web=v2")
}

// drop2 is drop within the directory, for one that is a mount of its own.
func (r *rig) drop2(name, content string) {
	r.t.Helper()
	must(r.t, os.MkdirAll(r.dir, 0o755))
	put(r.t, r.path(".new"), content)
	must(r.t, os.Rename(r.path(".new"), r.path(name)))
}

func TestRemovalOfManyWaitsAndIsConfirmed(t *testing.T) {
	cfg := config(tempDir(t))
	r := newRig(t, cfg)
	for _, n := range []string{"a", "b", "c", "d"} {
		r.drop(n+".yaml", manifest(n, "v1"))
	}
	r.want("a=v1 b=v1 c=v1 d=v1")
	start := time.Now()
	for _, n := range []string{"b", "c", "d"} {
		must(t, os.Remove(r.path(n+".yaml")))
	}
	r.want("a=v1 b=v1 c=v1 d=v1", "gone at once")
	r.drop("a.yaml", manifest("a", "v2"))
	r.want("a=v2 b=v1 c=v1 d=v1", "gone at once")
	r.want("a=v2")
	if d := time.Since(start); d < cfg.MassRemovalGrace {
		t.Errorf("removed after %s", d)
	}
}

func TestAPanicOfTheDecoderIsAProblem(t *testing.T) {
	cfg := config(tempDir(t))
	decode := cfg.Decode
	cfg.Decode = func(f string, b []byte) manifests.Documents {
		if strings.Contains(string(b), "boom") {
			panic("boom")
		}
		return decode(f, b)
	}
	r := newRig(t, cfg)
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	r.drop("web.yaml", "boom")
	r.want("web=v1", "the decoder broke")
}
