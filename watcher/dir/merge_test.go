package dir

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A look is written as one line per file: "a.yaml web=1 db=2 !api !" means that a.yaml defines web with UID 1 and db with
// UID 2, has a bad document of the pod api and one without a readable name; "cm:c=1" and "!cm:c" are a ConfigMap with data
// and a bad one, and a pod "web=1<c" names the ConfigMap c. "held", "fault", "empty" and "new" (with
// held: never read) are its states. The result is written the same way: "web=1 db=2 | problem, problem".
func parseLook(t *testing.T, spec string) listing {
	t.Helper()
	l := listing{place: place{ino: 1}}
	for line := range strings.SplitSeq(spec, ";") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "unknown":
			return listing{unknown: errors.New("input/output error")}
		case "mount":
			l.place.mount = true
			continue
		case "replaced":
			l.place.ino = 2
			continue
		}
		f := file{name: words[0], version: Version{Ino: 1}}
		for _, w := range words[1:] {
			switch {
			case w == "held":
				f.held = t0
			case w == "new":
				f.version = Version{}
			case w == "empty":
				f.empty = true
			case w == "fault":
				f.fault = &fault{message: "is a FIFO"}
			case strings.HasPrefix(w, "!"):
				p := manifests.Problem{Origin: manifests.Origin{File: "/m/" + f.name}, Message: "bad"}
				if name := w[1:]; strings.HasPrefix(name, "cm:") {
					p.Config = manifests.ConfigKey{Kind: manifests.KindConfigMap, Namespace: "default", Name: name[3:]}
				} else if strings.HasPrefix(name, ":") {
					p.Message = name[1:]
				} else if name != "" {
					p.Pod = key(name).key
				}
				f.Problems = append(f.Problems, p)
			case strings.HasPrefix(w, "cm:"):
				name, value, _ := strings.Cut(w[3:], "=")
				f.Configs = append(f.Configs, configMap(t, name, value, f.name))
			default:
				name, uid, _ := strings.Cut(w, "=")
				uid, names, _ := strings.Cut(uid, "<")
				f.Pods = append(f.Pods, podNaming(name, uid, f.name, names))
			}
		}
		l.files = append(l.files, f)
	}
	slices.SortFunc(l.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return l
}

var t0 = time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)

func key(name string) id { return podID(manifests.Key{Namespace: "default", Name: name}) }

func configMap(t *testing.T, name, value, file string) *manifests.Config {
	t.Helper()
	docs := manifests.DecodeAll("/m/"+file, fmt.Appendf(nil, "{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {k: %q}}", name, value),
		manifests.Options{})
	if len(docs.Configs) != 1 {
		t.Fatal(docs.Problems)
	}
	return docs.Configs[0]
}

// podNaming is a pod that takes its environment from a ConfigMap, if one is given.
func podNaming(name, uid, file, configMap string) *manifests.Pod {
	p := pod(name, uid, file)
	if configMap != "" {
		from := v1.EnvFromSource{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: configMap}}}
		p.Object.Spec.Containers = []v1.Container{{EnvFrom: []v1.EnvFromSource{from}}}
	}
	return p
}

// boundTo writes what a pod is bound to, such as "<c=1", "<c" when it is missing.
func boundTo(p *manifests.Pod) (text string) {
	for _, r := range manifests.References(p.Object) {
		text += "<" + r.Name
		if c := p.Bound.ConfigMap(r.Name); c != nil {
			v, _ := c.Text("k")
			text += "=" + v
		}
	}
	return text
}

func pod(name, uid, file string) *manifests.Pod {
	return &manifests.Pod{
		Object: &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)}},
		Origin: manifests.Origin{File: "/m/" + file, Document: 1},
	}
}

// show writes a snapshot: the pods, and of each problem its file, what it is about and "kept".
func show(s *manifests.Snapshot) string {
	if s == nil {
		return "nothing"
	}
	var pods, problems []string
	for _, p := range s.Pods {
		pods = append(pods, fmt.Sprintf("%s=%s%s", p.Key().Name, p.UID(), boundTo(p)))
	}
	for _, p := range s.Problems {
		word := "bad"
		for _, w := range []string{"conflict", "gone at once", "FIFO", "empty", "keeps the file open", "cannot be read", "mounted here is gone"} {
			if strings.Contains(p.Message, w) {
				word = w
			}
		}
		text := strings.TrimPrefix(p.Origin.File, "/m/") + " " + word
		if p.Kept {
			text += " kept"
		}
		problems = append(problems, text)
	}
	out := strings.Join(pods, " ")
	if len(problems) > 0 {
		out += " | " + strings.Join(problems, ", ")
	}
	return strings.TrimSpace(out)
}

func TestMerge(t *testing.T) {
	type step struct {
		after time.Duration // since the step before
		look  string
		want  string
		wake  time.Duration // from now; 0: not checked
	}
	const five = "a.yaml a=1; b.yaml b=1; c.yaml c=1; d.yaml d=1; e.yaml e=1"
	const allFive = "a=1 b=1 c=1 d=1 e=1"
	tests := []struct {
		name  string
		steps []step
	}{
		{"an empty directory wants nothing", []step{{0, "", "", 0}}},
		{"a file is wanted at once", []step{{0, "", "", 0}, {0, "a.yaml web=1", "web=1", 0}}},
		{"a changed document replaces its pod at once", []step{{0, "a.yaml web=1", "web=1", 0}, {0, "a.yaml web=2", "web=2", 0}}},
		{"a removed file removes its pod when a second look confirms it", []step{
			{0, "a.yaml web=1; b.yaml db=1", "db=1 web=1", 0},
			{0, "b.yaml db=1", "db=1 web=1", confirm},
			{confirm, "b.yaml db=1", "db=1", 0},
		}},
		{"a file that an editor takes away for a moment keeps its pod", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{0, "", "web=1", confirm},
			{time.Millisecond, "a.yaml held new", "web=1", 0},
			{time.Second, "a.yaml web=2", "web=2", 0},
		}},
		{"the wait for a confirmation starts anew after the file was back", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{0, "", "web=1", 0},
			{20 * time.Millisecond, "a.yaml web=1", "web=1", 0},
			{20 * time.Millisecond, "", "web=1", confirm},
			{confirm, "", "", 0},
		}},
		{"a renamed file restarts nothing", []step{{0, "a.yaml web=1", "web=1", 0}, {0, "b.yaml web=1", "web=1", 0}}},
		{"a renamed file keeps its pod although another file claims the name", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{0, "a.yaml web=1; b.yaml web=2", "web=1 | b.yaml conflict", 0},
			{0, "b.yaml web=2; c.yaml web=1", "web=1 | b.yaml conflict", 0},
			{time.Hour, "b.yaml web=2; c.yaml web=1", "web=1 | b.yaml conflict", 0},
		}},
		{"a renamed file that also changed waits for the confirmation, then changes its pod", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{0, "b.yaml web=2", "web=1", confirm},
			{confirm, "b.yaml web=2", "web=2", 0},
		}},
		{"a document removed from a file removes its pod", []step{
			{0, "a.yaml web=1 db=1", "db=1 web=1", 0},
			{0, "a.yaml web=1", "db=1 web=1", confirm},
			{confirm, "a.yaml web=1", "web=1", 0},
		}},
		{"a document that becomes bad keeps its pod, its good neighbour is updated", []step{
			{0, "a.yaml web=1 db=1", "db=1 web=1", 0},
			{0, "a.yaml web=2 !db", "db=1 web=2 | a.yaml bad kept", 0},
			{time.Hour, "a.yaml web=2 !db", "db=1 web=2 | a.yaml bad kept", 0},
			{0, "a.yaml web=2 db=2", "db=2 web=2", 0},
		}},
		{"a bad document about one pod does not keep another that was removed", []step{
			{0, "a.yaml web=1 db=1", "db=1 web=1", 0},
			{0, "a.yaml !db", "db=1 web=1 | a.yaml bad kept", confirm},
			{confirm, "a.yaml !db", "db=1 | a.yaml bad kept", 0},
		}},
		{"a bad document without a name keeps all pods of its file that are not defined", []step{
			{0, "a.yaml web=1 db=1; b.yaml api=1", "api=1 db=1 web=1", 0},
			{time.Hour, "a.yaml !; b.yaml api=1", "api=1 db=1 web=1 | a.yaml bad kept", 0},
			{time.Hour, "a.yaml !; b.yaml api=1", "api=1 db=1 web=1 | a.yaml bad kept", 0},
		}},
		{"a document whose name was broken keeps its pod", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{time.Hour, "a.yaml !we_b", "web=1 | a.yaml bad kept", 0},
			{time.Hour, "a.yaml !we_b", "web=1 | a.yaml bad kept", 0},
		}},
		{"a document of another kind that was always there does not keep a removed one", []step{
			{0, "a.yaml web=1 db=1 !:kind", "db=1 web=1 | a.yaml bad", 0},
			{0, "a.yaml web=1 !:kind", "db=1 web=1 | a.yaml bad", confirm},
			{confirm, "a.yaml web=1 !:kind", "web=1 | a.yaml bad", 0},
		}},
		{"a bad file that never was good wants nothing", []step{{0, "a.yaml !web", "| a.yaml bad", 0}}},
		{"a file that becomes a FIFO keeps its pod", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{time.Hour, "a.yaml fault", "web=1 | a.yaml FIFO kept", 0},
			{time.Hour, "a.yaml fault", "web=1 | a.yaml FIFO kept", 0},
		}},
		{"a bad file that is then removed removes its pod", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{0, "a.yaml fault", "web=1 | a.yaml FIFO kept", 0},
			{0, "", "web=1", confirm},
			{confirm, "", "", 0},
		}},
		{"a file that was emptied keeps its pod", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{time.Hour, "a.yaml empty", "web=1 | a.yaml empty kept", 0},
			{time.Hour, "a.yaml empty", "web=1 | a.yaml empty kept", 0},
		}},
		{"a file held by a writer keeps its pod, and is a problem when that lasts", []step{
			{0, "a.yaml web=1", "web=1", 0},
			{time.Second, "a.yaml web=1 held", "web=1", 9 * time.Second},
			{longHeld, "a.yaml web=1 held", "web=1 | a.yaml keeps the file open kept", 0},
			{0, "a.yaml web=2", "web=2", 0},
		}},
		{"the first snapshot waits for a file that is being written, but not for ever", []step{
			{0, "a.yaml held new", "nothing", firstWait},
			{firstWait, "a.yaml held new", "", 0},
		}},
		{"of two documents with one name the first seen keeps running, the second takes over when it goes", []step{
			{0, "b.yaml web=1", "web=1", 0},
			{0, "a.yaml web=2; b.yaml web=1", "web=1 | a.yaml conflict", 0},
			{time.Hour, "a.yaml web=2; b.yaml web=1", "web=1 | a.yaml conflict", 0},
			{0, "a.yaml web=2", "web=1", confirm},
			{confirm, "a.yaml web=2", "web=2", 0},
		}},
		{"the owner of a name stays the owner when it changes", []step{
			{0, "b.yaml web=1", "web=1", 0},
			{0, "a.yaml web=2; b.yaml web=1", "web=1 | a.yaml conflict", 0},
			{0, "a.yaml web=2; b.yaml web=3", "web=3 | a.yaml conflict", 0},
		}},
		{"the owner of a name stays the owner when it becomes bad", []step{
			{0, "b.yaml web=1", "web=1", 0},
			{0, "a.yaml web=2; b.yaml !web", "web=1 | a.yaml conflict, b.yaml bad kept", 0},
		}},
		{"two documents of one file with one name are a conflict, and swapping them changes nothing", []step{
			{0, "a.yaml web=1 web=2", "web=1 | a.yaml conflict", 0},
			{0, "a.yaml web=2 web=1", "web=1 | a.yaml conflict", 0},
		}},
		{"the same document twice is a conflict that harms nothing", []step{
			{0, "a.yaml web=1; b.yaml web=1", "web=1 | b.yaml conflict", 0},
			{0, "b.yaml web=1", "web=1", 0},
		}},
		{"two of five removed at once are removed at once", []step{
			{0, five, allFive, 0},
			{0, "a.yaml a=1; b.yaml b=1; c.yaml c=1", allFive, confirm},
			{confirm, "a.yaml a=1; b.yaml b=1; c.yaml c=1", "a=1 b=1 c=1", 0},
		}},
		{"three of five removed at once wait, edits and additions go through", []step{
			{0, five, allFive, 0},
			{0, "a.yaml a=1; b.yaml b=1", allFive, confirm},
			{confirm, "a.yaml a=1; b.yaml b=1", allFive + " | /m gone at once kept", 30 * time.Second},
			{time.Second, "a.yaml a=2; b.yaml b=1; f.yaml f=1", "a=2 b=1 c=1 d=1 e=1 f=1 | /m gone at once kept", 29 * time.Second},
			{28 * time.Second, "a.yaml a=2; b.yaml b=1; f.yaml f=1", "a=2 b=1 c=1 d=1 e=1 f=1 | /m gone at once kept", time.Second},
			{time.Second, "a.yaml a=2; b.yaml b=1; f.yaml f=1", "a=2 b=1 f=1", 0},
		}},
		{"a removal of many that comes in a burst is judged as one", []step{
			{0, five, allFive, 0},
			{0, "b.yaml b=1; c.yaml c=1; d.yaml d=1; e.yaml e=1", allFive, confirm},
			{10 * time.Millisecond, "e.yaml e=1", allFive, confirm},
			{confirm, "", allFive, confirm},
			{confirm, "", allFive + " | /m gone at once kept", 30 * time.Second},
		}},
		{"a trickle of removals does not put off the first for ever", []step{
			{0, five + "; f.yaml f=1", allFive + " f=1", 0},
			{0, five, allFive + " f=1", confirm},
			{60 * time.Millisecond, "a.yaml a=1; b.yaml b=1; c.yaml c=1; d.yaml d=1", allFive + " f=1", confirm},
			{20 * time.Millisecond, "a.yaml a=1; b.yaml b=1; c.yaml c=1", allFive + " f=1", 20 * time.Millisecond},
			{20 * time.Millisecond, "a.yaml a=1; b.yaml b=1; c.yaml c=1", "a=1 b=1 c=1", 0},
		}},
		{"files put back during the wait are as before, the rest still waits", []step{
			{0, five, allFive, 0},
			{0, "", allFive, 0},
			{confirm, "", allFive + " | /m gone at once kept", 0},
			{time.Second, "a.yaml a=1; b.yaml b=1; c.yaml c=1", allFive + " | /m gone at once kept", 29 * time.Second},
			{time.Second, five, allFive, 0},
			{time.Hour, five, allFive, 0},
		}},
		{"many files replaced by others with new versions of the same pods is no removal", []step{
			{0, "a.yaml a=1; b.yaml b=1; c.yaml c=1; d.yaml d=1", "a=1 b=1 c=1 d=1", 0},
			{0, "all.yaml a=2 b=2 c=2 d=2", "a=1 b=1 c=1 d=1", confirm},
			{confirm, "all.yaml a=2 b=2 c=2 d=2", "a=2 b=2 c=2 d=2", 0},
		}},
		{"all three of three are removed at once", []step{
			{0, "a.yaml a=1 b=1 c=1", "a=1 b=1 c=1", 0},
			{0, "", "a=1 b=1 c=1", 0},
			{confirm, "", "", 0},
		}},
		{"an unknown directory removes nothing and starts every wait anew", []step{
			{0, "a.yaml a=1", "a=1", 0},
			{0, "", "a=1", 0},
			{time.Hour, "unknown", "a=1 | /m cannot be read kept", unknownRetry},
			{time.Hour, "", "a=1", confirm},
			{confirm, "", "", 0},
		}},
		{"an unknown directory that comes back as it was changes nothing", []step{
			{0, "a.yaml a=1", "a=1", 0},
			{0, "unknown", "a=1 | /m cannot be read kept", 0},
			{time.Hour, "a.yaml a=1", "a=1", 0},
		}},
		{"a directory unknown from the start says nothing", []step{
			{0, "unknown", "nothing", unknownRetry},
			{time.Hour, "unknown", "nothing", unknownRetry},
			{time.Hour, "", "", 0},
		}},
		{"a directory replaced by an empty one makes even one pod wait", []step{
			{0, "a.yaml a=1", "a=1", 0},
			{0, "replaced", "a=1", confirm},
			{confirm, "replaced", "a=1 | /m gone at once kept", 30 * time.Second},
			{time.Second, "replaced", "a=1 | /m gone at once kept", 29 * time.Second},
			{29 * time.Second, "replaced", "", 0},
		}},
		{"a directory replaced by one with other files is taken as it is", []step{
			{0, "a.yaml a=1", "a=1", 0},
			{0, "replaced; b.yaml b=1", "a=1 b=1", confirm},
			{confirm, "replaced; b.yaml b=1", "b=1", 0},
		}},
		{"a file system that is unmounted makes the directory unknown for as long as it is", []step{
			{0, "mount; a.yaml a=1", "a=1", 0},
			{0, "replaced", "a=1 | /m mounted here is gone kept", unknownRetry},
			{time.Hour, "replaced", "a=1 | /m mounted here is gone kept", unknownRetry},
			{time.Hour, "mount; a.yaml a=1", "a=1", 0},
			{0, "mount", "a=1", confirm},
			{confirm, "mount", "", 0},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var st state
			now := t0
			for i, s := range tt.steps {
				now = now.Add(s.after)
				next, snap, wake := merge(st, parseLook(t, s.look), now, rules{source: "dir:/m", dir: "/m", grace: 30 * time.Second})
				if diff := cmp.Diff(s.want, show(snap)); diff != "" {
					t.Fatalf("step %d, %q (-want +got):\n%s", i, s.look, diff)
				}
				if s.wake != 0 && !wake.Equal(now.Add(s.wake)) {
					t.Fatalf("step %d, %q: wake in %s, want %s", i, s.look, wake.Sub(now), s.wake)
				}
				st = next
			}
		})
	}
}

func TestMergeWithStoredPods(t *testing.T) {
	stored := func(names ...string) state {
		st := state{claims: map[id]claim{}}
		for _, n := range names {
			st.claims[key(n)] = claim{wanted: wanted{pod: pod(n, "1", n+".yaml")}, file: n + ".yaml"}
		}
		return st
	}
	tests := []struct {
		name  string
		state state
		look  string
		wants [2]string // at once, and after the confirmation
	}{
		{
			"a manifest that is bad at the start runs in the stored version", stored("web"), "web.yaml !web",
			[2]string{"web=1 | web.yaml bad kept", "web=1 | web.yaml bad kept"},
		},
		{"a manifest that went while the agent was down removes its pod", stored("web"), "", [2]string{"web=1", ""}},
		{
			"many manifests that went while the agent was down wait", stored("a", "b", "c", "d"), "",
			[2]string{"a=1 b=1 c=1 d=1", "a=1 b=1 c=1 d=1 | /m gone at once kept"},
		},
		{
			"a directory that is unknown at the start runs what is stored", stored("web"), "unknown",
			[2]string{"web=1 | /m cannot be read kept", "web=1 | /m cannot be read kept"},
		},
		{
			"a name stays with its owner over a restart", stored("web"), "a.yaml web=2; web.yaml web=1",
			[2]string{"web=1 | a.yaml conflict", "web=1 | a.yaml conflict"},
		},
		{
			"a manifest being written at the start does not hold up what is stored", stored("web"), "web.yaml held new",
			[2]string{"web=1", "web=1"},
		},
		{
			"a mount that did not come back at the start runs what is stored",
			state{claims: stored("web").claims, place: place{mount: true}},
			"",
			[2]string{"web=1 | /m mounted here is gone kept", "web=1 | /m mounted here is gone kept"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, now := tt.state, t0
			for i, want := range tt.wants {
				next, snap, _ := merge(st, parseLook(t, tt.look), now, rules{source: "dir:/m", dir: "/m", grace: 30 * time.Second})
				if diff := cmp.Diff(want, show(snap)); diff != "" {
					t.Fatalf("look %d (-want +got):\n%s", i, diff)
				}
				st, now = next, now.Add(confirm)
			}
		})
	}
}

func TestMergeKeepsThePointerOfAPodThatDidNotChange(t *testing.T) {
	l := parseLook(t, "a.yaml web=1")
	r := rules{dir: "/m", grace: time.Second}
	st, first, _ := merge(state{}, l, t0, r)
	_, second, _ := merge(st, parseLook(t, "a.yaml web=1"), t0, r)
	if !same(first, second) {
		t.Error("the same documents read again are another snapshot")
	}
	edited := parseLook(t, "a.yaml web=1")
	edited.files[0].Pods[0].Object.Annotations = map[string]string{"data": "new"}
	_, third, _ := merge(st, edited, t0, r)
	if same(first, third) {
		t.Error("a pod with the same UID and other data is not another snapshot")
	}
}

func TestProblemsOfADirectoryOfJunkAreBounded(t *testing.T) {
	l := parseLook(t, "zz.yaml web=1")
	r := rules{dir: "/m", grace: time.Second}
	st, _, _ := merge(state{}, l, t0, r)
	for i := range 5000 {
		l.files = append(l.files, file{name: fmt.Sprint(i, ".yaml"), version: Version{Ino: 1}, fault: &fault{message: "bad"}})
	}
	l.files[0].Pods, l.files[0].fault = nil, &fault{message: "bad"}
	_, snap, _ := merge(st, l, t0, r)
	if len(snap.Problems) != maxProblems+1 {
		t.Fatalf("%d problems", len(snap.Problems))
	}
	if !snap.Problems[0].Kept {
		t.Error("the problem of a running pod is not listed first")
	}
}
