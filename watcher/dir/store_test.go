package dir

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func TestTheLastGoodVersionSurvivesARestart(t *testing.T) {
	cfg := config(tempDir(t))
	r := newRig(t, cfg)
	r.drop("web.yaml", manifest("web", "v1"))
	r.drop("db.yaml", manifest("db", "v1"))
	r.want("db=v1 web=v1")
	uid := r.last.Pods[1].UID()
	r.drop("web.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containrs: []}\n")
	r.want("db=v1 web=v1", "web.yaml")
	r.stop()
	must(t, os.Remove(r.path("db.yaml")))
	put(t, filepath.Join(cfg.StoreDir, "default_broken.json"), "{half")
	put(t, filepath.Join(cfg.StoreDir, "default_x.json.part"), "{half")

	r = newRig(t, cfg)
	r.want("web=v1", "web.yaml")
	if p, _ := r.problem("web.yaml"); !p.Kept {
		t.Errorf("the problem does not say that the pod is kept: %v", p)
	}
	if r.last.Pods[0].UID() != uid {
		t.Error("the stored pod has another UID")
	}
	r.stop()
	names, err := os.ReadDir(cfg.StoreDir)
	must(t, err)
	var got []string
	for _, n := range names {
		got = append(got, n.Name())
	}
	if want := []string{"default_broken.json.corrupt", "default_web.json"}; !slices.Equal(got, want) {
		t.Errorf("the store holds %v, want %v", got, want)
	}

	must(t, os.Rename(r.dir, r.dir+".away"))
	cfg.Create = false
	r = newRig(t, cfg)
	r.want("web=v1", "does not exist")
}

func TestADamagedStoreIsNeverFatal(t *testing.T) {
	cfg := config(tempDir(t))
	r := newRig(t, cfg)
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	r.stop()
	path := filepath.Join(cfg.StoreDir, "default_web.json")
	good, err := os.ReadFile(path)
	must(t, err)
	flipped := slices.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string]string{
		"empty": "", "truncated": string(good[:len(good)/2]), "flipped": string(flipped), "NULs": strings.Repeat("\x00", len(good)),
		"from the future": strings.Replace(string(good), `"version":1`, `"version":9`, 1), "list": "[]", "null": "null",
	} {
		t.Run(name, func(t *testing.T) {
			put(t, path, content)
			r := newRig(t, cfg)
			r.want("web=v1")
			r.stop()
			if now, _ := os.ReadFile(path); string(now) != string(good) {
				t.Error("the entry was not written anew")
			}
		})
	}
	must(t, os.RemoveAll(cfg.StoreDir))
	put(t, cfg.StoreDir, "a file where the store should be")
	r = newRig(t, cfg)
	r.want("web=v1", "cannot be stored")
}

func TestNothingIsWrittenWhileNothingChanges(t *testing.T) {
	cfg := config(tempDir(t))
	cfg.Rescan = 5 * time.Millisecond
	r := newRig(t, cfg)
	r.drop("web.yaml", manifest("web", "v1"))
	r.want("web=v1")
	for _, err := os.Stat(filepath.Join(cfg.StoreDir, "default_web.json")); err != nil; {
		r.next(10 * time.Millisecond)
		_, err = os.Stat(filepath.Join(cfg.StoreDir, "default_web.json"))
	}
	time.Sleep(20 * time.Millisecond) // until the directory is synced
	stat := func() (v [2]Version) {
		for i, p := range []string{cfg.StoreDir, filepath.Join(cfg.StoreDir, "default_web.json")} {
			var st unix.Stat_t
			must(t, unix.Stat(p, &st))
			v[i] = versionOf(&st)
		}
		return v
	}
	was := stat()
	for range 20 {
		r.write("web.yaml", manifest("web", "v1"))
		r.write("junk", "")
		if r.next(10 * time.Millisecond) {
			t.Fatal("a snapshot although nothing changed")
		}
	}
	if now := stat(); now != was {
		t.Errorf("the store was written: %v, was %v", now, was)
	}
}

func TestAVersionIsKnownToTheStoreBeforeItIsDurable(t *testing.T) {
	open := func(dir string) (*store, state) {
		s := &store{dir: dir, codec: NewCodec(manifests.Options{}), log: zerolog.Nop()}
		return s, s.load()
	}
	decoded := func(app string) map[id]claim {
		pods, problems := manifests.Decode("/m/web.yaml", []byte(manifest("web", app)), manifests.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return map[id]claim{key("web"): {wanted: wanted{pod: pods[0]}, file: "web.yaml", beside: []string{"x"}}}
	}
	app := func(st state) string {
		if len(st.claims) == 0 {
			return "nothing"
		}
		return st.claims[key("web")].pod.Object.Labels["app"]
	}
	dir := filepath.Join(t.TempDir(), "store")
	s, _ := open(dir)
	must(t, s.stage(decoded("v1"), true))
	must(t, s.commit(decoded("v1")))
	must(t, s.stage(decoded("v2"), true))

	_, st := open(dir) // the agent was killed
	if got := app(st); got != "v2" {
		t.Errorf("after a kill the store knows %s", got)
	}
	if c := st.claims[key("web")]; c.file != "web.yaml" || !slices.Equal(c.beside, []string{"x"}) || !st.place.mount || c.pod.Origin.File != "/m/web.yaml" {
		t.Errorf("what belongs to the pod was lost: %+v", c)
	}
	must(t, os.Truncate(filepath.Join(dir, "default_web.json.part"), 0)) // the power was cut
	s, st = open(dir)
	if got := app(st); got != "v1" {
		t.Errorf("after a power cut the store knows %s", got)
	}
	must(t, s.stage(nil, true))
	must(t, s.commit(nil))
	if _, st = open(dir); app(st) != "nothing" {
		t.Error("a pod that is not wanted is still stored")
	}
}
