package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

func podYAML(name, image string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {containers: [{name: app, image: " + image + "}]}\n"
}

func TestManifestsAreAppliedAndDeleted(t *testing.T) {
	n := newNode(t)
	here := t.TempDir()
	put(t, here, map[string]string{
		"web.yaml": podYAML("web", "nginx:1"), "two.yaml": podYAML("a", "x:1") + "---\n" + podYAML("b", "x:1"), "bad.yaml": "kind: Pod\n",
		"clash.yaml": podYAML("web", "other:1"),
	})
	apply := func(o ApplyOptions) (string, error) {
		out, errOut, err := run(func(s Streams) error { return Apply(t.Context(), n.Client, s, o) })
		return out + errOut, err
	}
	file := filepath.Join(here, "web.yaml")
	for _, c := range []struct {
		name string
		o    ApplyOptions
		want string
	}{
		{"a dry run", ApplyOptions{Files: []string{file}, DryRun: true}, "pod/web created (dry run)\n"},
		{"the first time", ApplyOptions{Files: []string{file}}, "pod/web created\n"},
		{"again", ApplyOptions{Files: []string{file}}, "pod/web unchanged\n"},
		{"several", ApplyOptions{Files: []string{filepath.Join(here, "two.yaml")}}, "pod/a created\npod/b created\n"},
	} {
		if got, err := apply(c.o); err != nil || got != c.want {
			t.Errorf("%s: %q %v", c.name, got, err)
		}
	}
	if got, err := apply(ApplyOptions{Files: []string{file, filepath.Join(here, "bad.yaml")}}); err == nil || !strings.Contains(got, "bad.yaml") {
		t.Errorf("a bad manifest: %q %v", got, err)
	}
	if _, err := apply(ApplyOptions{Files: []string{filepath.Join(here, "clash.yaml")}}); err == nil || !strings.Contains(err.Error(), "already defined") {
		t.Errorf("a clash: %v", err)
	}
	elsewhere := t.TempDir()
	put(t, elsewhere, map[string]string{"web.yaml": podYAML("shop", "nginx:1")})
	if _, err := apply(ApplyOptions{Files: []string{filepath.Join(elsewhere, "web.yaml")}}); err == nil || !strings.Contains(err.Error(), "with pod default/web, which would go") {
		t.Errorf("another manifest of that name: %v", err)
	}
	if d := cmp.Diff([]string{"two.yaml", "web.yaml"}, names(t, n.manifest)); d != "" {
		t.Error(d)
	}
	if st, _ := os.Stat(filepath.Join(n.manifest, "web.yaml")); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}

	remove := func(o DeleteOptions) (string, error) {
		out, errOut, err := run(func(s Streams) error { return Delete(t.Context(), n.Client, s, o) })
		return out + errOut, err
	}
	if _, err := remove(DeleteOptions{Pods: []string{"a"}}); err == nil || !strings.Contains(err.Error(), "also defines pod default/b") {
		t.Errorf("a pod that shares its file: %v", err)
	}
	if _, err := remove(DeleteOptions{Pods: []string{"none"}}); ExitCode(err) != ExitNotFound {
		t.Errorf("a pod that is not: %v", err)
	}
	if got, err := remove(DeleteOptions{Pods: []string{"pod/web"}}); err != nil || got != "pod \"web\" deleted\n" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := remove(DeleteOptions{Files: []string{filepath.Join(here, "two.yaml")}}); err != nil || strings.Count(got, "deleted") != 2 {
		t.Errorf("%q %v", got, err)
	}
	if left := names(t, n.manifest); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestDiffSaysWhatWouldRestartAndWhy(t *testing.T) {
	n := newNode(t)
	here := t.TempDir()
	put(t, here, map[string]string{"same.yaml": podYAML("same", "x:1"), "changed.yaml": podYAML("changed", "x:2"), "new.yaml": podYAML("new", "x:1")})
	for _, text := range []string{podYAML("same", "x:1"), podYAML("changed", "x:1")} {
		pods, problems := manifests.Decode("f", []byte(text), manifests.Options{NodeName: "node-1"})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		n.board.Post(&podmgr.Entry{Pod: pods[0], Key: pods[0].Key(), Source: "dir:/m"})
	}
	diff := func(files ...string) (string, error) {
		out, _, err := run(func(s Streams) error { return Diff(t.Context(), n.Client, s, files) })
		return out, err
	}
	if out, err := diff(filepath.Join(here, "same.yaml")); err != nil || out != "" {
		t.Errorf("nothing to change: %q %v", out, err)
	}
	out, err := diff(here)
	if ExitCode(err) != ExitFailed {
		t.Error(err)
	}
	for _, want := range []string{
		"pod/changed would be stopped and made anew, because of spec.containers[0].image\n", "-  - image: x:1\n+  - image: x:2\n", "pod/new would be created\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q lacks %q", out, want)
		}
	}
	if strings.Contains(out, "same") {
		t.Errorf("what is the same is shown: %s", out)
	}
}

func TestWaitWaits(t *testing.T) {
	n := newNode(t)
	ready := func(status v1.ConditionStatus) func(*v1.Pod, *podmgr.Entry) {
		return func(_ *v1.Pod, e *podmgr.Entry) {
			e.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: status}}
		}
	}
	post(n, "default", "web", ready(v1.ConditionFalse))
	wait := func(o WaitOptions) (string, error) {
		out, _, err := run(func(s Streams) error { return Wait(t.Context(), n.Client, s, o) })
		return out, err
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		post(n, "default", "web", ready(v1.ConditionTrue))
		time.Sleep(50 * time.Millisecond)
		post(n, "default", "later", ready(v1.ConditionTrue))
	}()
	for _, c := range []struct {
		name, want string
		o          WaitOptions
		code       int
	}{
		{"until it is ready", "pod/web condition met\n", WaitOptions{Pods: []string{"web"}, For: "condition=Ready", Timeout: 10 * time.Second}, 0},
		{"for one that comes later", "pod/later condition met\n", WaitOptions{Pods: []string{"pod/later"}, For: "condition=ready=true", Timeout: 10 * time.Second}, 0},
		{"by selector", "pod/web condition met\n", WaitOptions{Selector: "app=web", For: "condition=Ready"}, 0},
		{"for a value", "pod/web condition met\n", WaitOptions{Pods: []string{"web"}, For: "jsonpath={.status.phase}=Running"}, 0},
		{"for one that is gone", "pod/gone deleted\n", WaitOptions{Pods: []string{"gone"}, For: "delete"}, 0},
		{"too long", "", WaitOptions{Pods: []string{"web"}, For: "delete", Timeout: 20 * time.Millisecond}, ExitFailed},
		{"not at all", "", WaitOptions{Pods: []string{"web"}, For: "delete"}, ExitFailed},
		{"for nonsense", "", WaitOptions{Pods: []string{"web"}, For: "luck"}, ExitUsage},
		{"for nobody", "", WaitOptions{For: "delete"}, ExitUsage},
	} {
		if got, err := wait(c.o); got != c.want || ExitCode(err) != c.code {
			t.Errorf("%s: %q %v", c.name, got, err)
		}
	}
}

func TestRestartAndTop(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	out, _, err := run(func(s Streams) error { return Restart(t.Context(), n.Client, s, "", []string{"pod/web"}) })
	if err != nil || out != "pod/web restarted\n" || n.restarted[0] != "default/web" {
		t.Errorf("%q %v %v", out, err, n.restarted)
	}
	for _, c := range []struct {
		want string
		top  func(s Streams) error
	}{
		{"NAME   CPU(cores)   MEMORY(bytes)\ndb     90m          1Mi\nweb    2m           20Mi\n", func(s Streams) error { return TopPods(t.Context(), n.Client, s, TopOptions{}) }},
		{"web   2m    20Mi\ndb    90m   1Mi\n", func(s Streams) error {
			return TopPods(t.Context(), n.Client, s, TopOptions{SortBy: "memory", NoHeaders: true})
		}},
		{"POD   NAME   CPU(cores)   MEMORY(bytes)\nweb   app    1m           10Mi\nweb   side   <unknown>    <unknown>\n", func(s Streams) error {
			return TopPods(t.Context(), n.Client, s, TopOptions{Names: []string{"web"}, Containers: true})
		}},
		{"NAME     CPU(cores)   MEMORY(bytes)   MEMORY(%)\nnode-1   250m         1024Mi          25%\n", func(s Streams) error { return TopNode(t.Context(), n.Client, s, TopOptions{}) }},
	} {
		got, _, err := run(c.top)
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%v: %s", err, d)
		}
	}
}
