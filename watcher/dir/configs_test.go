package dir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

func TestConfigMapsFollowTheRulesOfPods(t *testing.T) {
	type step struct {
		after time.Duration
		look  string
		want  string
	}
	for name, steps := range map[string][]step{
		"a pod sees what it names": {
			{0, "a.yaml web=1<c cm:c=1 cm:d=1", "web=1<c=1"},
			{0, "a.yaml web=1<c cm:c=2 cm:d=2", "web=1<c=2"},
		},
		"it may come later, from another file": {
			{0, "a.yaml web=1<c", "web=1<c"},
			{0, "a.yaml web=1<c; b.yaml cm:c=1", "web=1<c=1"},
		},
		"a removed one is gone when a second look confirms it": {
			{0, "a.yaml web=1<c; b.yaml cm:c=1", "web=1<c=1"},
			{0, "a.yaml web=1<c", "web=1<c=1"},
			{confirm, "a.yaml web=1<c", "web=1<c"},
		},
		"a bad one keeps its last good version": {
			{0, "a.yaml web=1<c; b.yaml cm:c=1", "web=1<c=1"},
			{0, "a.yaml web=1<c; b.yaml !cm:c", "web=1<c=1 | b.yaml bad kept"},
			{time.Hour, "a.yaml web=1<c; b.yaml fault", "web=1<c=1 | b.yaml FIFO kept"},
			{time.Hour, "a.yaml web=1<c; b.yaml held", "web=1<c=1 | b.yaml keeps the file open kept"},
			{0, "a.yaml web=1<c; b.yaml cm:c=2", "web=1<c=2"},
		},
		"a bad one beside a good pod keeps no pod": {
			{0, "a.yaml web=1<c cm:c=1", "web=1<c=1"},
			{0, "a.yaml !cm:c", "web=1<c=1 | a.yaml bad kept"},
			{confirm, "a.yaml !cm:c", "| a.yaml bad kept"},
		},
		"a new bad one of another name keeps nothing": {
			{0, "a.yaml web=1<c cm:c=1 cm:d=1", "web=1<c=1"},
			{0, "a.yaml web=1<c !cm:d", "web=1<c=1 | a.yaml bad kept"},
			{confirm, "a.yaml web=1<c !cm:d", "web=1<c | a.yaml bad kept"},
		},
		"the first of two of one name stays": {
			{0, "a.yaml cm:c=1; b.yaml cm:c=2 web=1<c", "web=1<c=1 | b.yaml conflict"},
			{0, "a.yaml cm:c=3; b.yaml cm:c=2 web=1<c", "web=1<c=3 | b.yaml conflict"},
			{0, "b.yaml cm:c=2 web=1<c", "web=1<c=3"},
			{confirm, "b.yaml cm:c=2 web=1<c", "web=1<c=2"},
		},
		"a pod of the same name is no conflict": {
			{0, "a.yaml c=1<c; b.yaml cm:c=1", "c=1<c=1"},
		},
		"it moves to another file unharmed": {
			{0, "a.yaml web=1<c; b.yaml cm:c=1", "web=1<c=1"},
			{0, "a.yaml web=1<c; d.yaml cm:c=1", "web=1<c=1"},
			{time.Hour, "a.yaml web=1<c; d.yaml cm:c=1", "web=1<c=1"},
		},
		"many removed with most of the pods stay with them": {
			{0, "a.yaml a=1<c; b.yaml b=1; c.yaml c=1; d.yaml d=1; e.yaml cm:c=1", "a=1<c=1 b=1 c=1 d=1"},
			{0, "", "a=1<c=1 b=1 c=1 d=1"},
			{confirm, "", "a=1<c=1 b=1 c=1 d=1 | /m gone at once kept"},
			{30 * time.Second, "", ""},
		},
		"one removed after most of the pods stays with them": {
			{0, "a.yaml a=1<c; b.yaml b=1; c.yaml c=1; d.yaml d=1; e.yaml cm:c=1", "a=1<c=1 b=1 c=1 d=1"},
			{0, "e.yaml cm:c=1", "a=1<c=1 b=1 c=1 d=1"},
			{confirm, "e.yaml cm:c=1", "a=1<c=1 b=1 c=1 d=1 | /m gone at once kept"},
			{time.Second, "", "a=1<c=1 b=1 c=1 d=1 | /m gone at once kept"},
			{confirm, "", "a=1<c=1 b=1 c=1 d=1 | /m gone at once kept"},
			{30 * time.Second, "", ""},
		},
		"many ConfigMaps do not make the removal of few pods a small one": {
			{0, "a.yaml a=1 b=1; b.yaml c=1 d=1; e.yaml cm:a=1 cm:b=1 cm:c=1 cm:d=1 cm:e=1 cm:f=1", "a=1 b=1 c=1 d=1"},
			{0, "e.yaml cm:a=1 cm:b=1 cm:c=1 cm:d=1 cm:e=1 cm:f=1", "a=1 b=1 c=1 d=1"},
			{confirm, "e.yaml cm:a=1 cm:b=1 cm:c=1 cm:d=1 cm:e=1 cm:f=1", "a=1 b=1 c=1 d=1 | /m gone at once kept"},
		},
		"an unreadable directory changes nothing": {
			{0, "a.yaml web=1<c; b.yaml cm:c=1", "web=1<c=1"},
			{time.Hour, "unknown", "web=1<c=1 | /m cannot be read kept"},
		},
		"a directory that was never read says nothing": {
			{0, "unknown", "nothing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			st, now := state{}, t0
			for i, s := range steps {
				now = now.Add(s.after)
				var snap *manifests.Snapshot
				st, snap, _ = merge(st, parseLook(t, s.look), now, rules{source: "dir:/m", dir: "/m", grace: 30 * time.Second})
				got := show(snap)
				if diff := cmp.Diff(s.want, got); diff != "" {
					t.Fatalf("step %d: %s", i+1, diff)
				}
			}
		})
	}
}

const secretText = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: %s}\n"

// naming makes a Codec whose pods name the Secret s, which the table of supported fields does not allow yet.
func naming(c Codec) Codec {
	name := func(p *manifests.Pod) *manifests.Pod {
		q := *p
		q.Object = p.Object.DeepCopy()
		from := v1.EnvFromSource{SecretRef: &v1.SecretEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "s"}}}
		q.Object.Spec.Containers[0].EnvFrom = []v1.EnvFromSource{from}
		return &q
	}
	decode, stored := c.Decode, c.DecodeStored
	c.Decode = func(file string, data []byte) manifests.Documents {
		docs := decode(file, data)
		for i, p := range docs.Pods {
			docs.Pods[i] = name(p)
		}
		return docs
	}
	c.DecodeStored = func(b []byte) (*manifests.Pod, error) {
		p, err := stored(b)
		if err != nil {
			return nil, err
		}
		return name(p), nil
	}
	return c
}

// wantSecret waits until the only pod is bound to a version of the Secret; "" for none.
func (r *rig) wantSecret(value string, problem ...string) {
	r.t.Helper()
	ok := func() bool {
		if !r.got || len(r.last.Pods) != 1 {
			return false
		}
		text := ""
		if c := r.last.Pods[0].Bound.Secret("s"); c != nil {
			text, _ = c.Text("k")
		}
		for _, p := range problem {
			if _, found := r.problem(p); !found {
				return false
			}
		}
		return text == value
	}
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if !r.next(time.Until(end)) {
			r.t.Fatalf("want the secret %q %q, have %v %v", value, problem, r.last.Pods, r.last.Problems)
		}
	}
}

func TestASecretIsReadChangedKeptAndStoredForRootOnly(t *testing.T) {
	cfg := config(tempDir(t))
	cfg.Codec = naming(cfg.Codec)
	r := newRig(t, cfg)
	r.drop("web.yaml", manifest("web", "v1"))
	r.wantSecret("")
	uid := r.last.Pods[0].UID()
	r.drop("s.yaml", strings.ReplaceAll(secretText, "%s", "one"))
	r.wantSecret("one")
	r.drop("s.yaml", strings.ReplaceAll(secretText, "%s", "two"))
	r.wantSecret("two")
	bound := r.last.Pods[0]
	r.drop("t.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: unnamed}\n")
	r.drop("bad.yaml", "nothing")
	r.wantSecret("two", "bad.yaml")
	if r.last.Pods[0] != bound {
		t.Error("the pod is another one although nothing of it changed")
	}
	must(t, os.Remove(r.path("bad.yaml")))
	r.drop("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: [three]}\n")
	r.wantSecret("two", "stringData.k")
	r.stop()

	r = newRig(t, cfg) // after a restart of the agent
	r.wantSecret("two", "stringData.k")
	if p, _ := r.problem("stringData.k"); !p.Kept || p.Config.Name != "s" {
		t.Errorf("the problem does not say that the secret is kept: %+v", p)
	}
	st, err := os.Stat(filepath.Join(cfg.StoreDir, "secret_default_s.json"))
	if err != nil {
		st, err = os.Stat(filepath.Join(cfg.StoreDir, "secret_default_s.json.part"))
	}
	if must(t, err); st.Mode().Perm() != 0o600 {
		t.Errorf("the stored secret has mode %o", st.Mode().Perm())
	}
	must(t, os.Remove(r.path("s.yaml")))
	r.wantSecret("")
	if r.last.Pods[0].UID() != uid || r.restarts != 0 {
		t.Errorf("the pod has another UID (%d restarts)", r.restarts)
	}
	r.stop()
	if names, err := filepath.Glob(filepath.Join(cfg.StoreDir, "secret_default_s*")); err != nil || len(names) > 0 {
		t.Errorf("the store still holds %v (%v)", names, err)
	}
}

func TestAStoredPodCanBeStoredAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := &store{dir: dir, codec: NewCodec(manifests.Options{NodeName: "node"})}
	s.load()
	docs := s.codec.Decode("/m/web.yaml", []byte(manifest("web", "v1")))
	claims := map[id]claim{key("web"): {wanted: wanted{pod: docs.Pods[0]}, file: "web.yaml"}}
	must(t, s.stage(claims, false))
	must(t, s.commit(claims))
	s = &store{dir: dir, codec: NewCodec(manifests.Options{NodeName: "node"})}
	st := s.load()
	c := st.claims[key("web")]
	c.beside = []string{"a new problem beside it"}
	st.claims[key("web")] = c
	must(t, s.stage(st.claims, false))
	must(t, s.commit(st.claims))
	if got := (&store{dir: dir, codec: NewCodec(manifests.Options{NodeName: "node"})}).load().claims[key("web")]; len(got.beside) != 1 {
		t.Errorf("the store knows %+v", got)
	}
}

func TestTheEntryOfALongNameFitsAFileName(t *testing.T) {
	s := &store{dir: "/s"}
	long := configID(manifests.ConfigKey{Kind: manifests.KindSecret, Namespace: strings.Repeat("n", 63), Name: strings.Repeat("x", 253)})
	if name := filepath.Base(s.path(long)) + partSuffix; len(name) > 255 {
		t.Errorf("%d bytes", len(name))
	}
	if s.path(key("a")) == s.path(id{kind: manifests.KindSecret, key: key("a").key}) {
		t.Error("a pod and a secret share an entry")
	}
}
