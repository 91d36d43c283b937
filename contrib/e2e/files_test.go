package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// badFiles are contents that a manifest may come to have, each with words that a person has to see about it.
func badFiles(n *node.Node) map[string][2]string {
	good := n.YAML(node.Pod("app", node.Sleep))
	return map[string][2]string{
		"broken YAML":           {strings.Replace(good, "kind: Pod", "kind: Pod\n  oops: [", 1), ""},
		"a tab as indentation":  {strings.Replace(good, "  containers:", "\tcontainers:", 1), ""},
		"an unknown field":      {strings.Replace(good, "spec:", "spec:\n  replicas: 3", 1), "replicas"},
		"a duplicate field":     {good + "kind: Pod\n", "kind"},
		"a wrong type":          {strings.Replace(good, "terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds: soon", 1), "terminationGracePeriodSeconds"},
		"no image":              {strings.Replace(good, "image: "+node.Busybox, "", 1), "image"},
		"no containers":         {"apiVersion: v1\nkind: Pod\nmetadata: {name: app}\nspec: {}\n", "containers"},
		"an unsupported field":  {strings.Replace(good, "spec:", "spec:\n  resourceClaims: [{name: gpu, resourceClaimName: gpu}]", 1), "resourceClaims"},
		"random bytes":          {"\x00\x01\xfe\xff\x7fELF" + strings.Repeat("\xaa", 4000), ""},
		"a YAML bomb":           {bomb(), ""},
		"more than one MiB":     {good + strings.Repeat("# padding\n", 200_000), ""},
		"nothing at all":        {"", ""},
		"a half-written file":   {good[:len(good)/2], ""},
		"deep nesting":          {strings.Repeat("[", 100_000), ""},
		"an illegal volume":     {strings.Replace(good, "spec:", "spec:\n  volumes: [{name: v, hostPath: {path: ../up}}]", 1), "hostPath"},
		"JSON with a bad comma": {`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app"},,}`, ""},
	}
}

// bomb is the "billion laughs" of CVE-2019-11253.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	return b.String() + "kind: Pod\n"
}

func TestBadEditKeepsTheLastGoodPod(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	n.Apply(node.Pod("app", node.Sleep))
	n.WaitRunning("app")
	n.Settle()
	before := n.Processes()
	for name, bad := range badFiles(n) {
		t.Run(name, func(t *testing.T) {
			n.Use(t)
			n.Write("app.yaml", bad[0])
			n.Eventually("the problem to be shown with "+bad[1], func() string {
				for _, p := range n.Problems() {
					if filepath.Base(p.File) == "app.yaml" && p.Kept && strings.Contains(p.Field+" "+p.Message, bad[1]) {
						return ""
					}
				}
				return fmt.Sprintf("%+v", n.Problems())
			})
			if out := n.MustAgent("describe", "pod", "app"); !strings.Contains(out, n.Problems()[0].Message) {
				t.Errorf("describe does not show %q:\n%s", n.Problems()[0].Message, out)
			}
			same(t, name, before, n.Processes())
			n.Apply(node.Pod("app", node.Sleep))
			n.Eventually("the problem to be gone", func() string {
				if p := n.Problems(); len(p) > 0 {
					return fmt.Sprintf("%+v", p)
				}
				return ""
			})
			same(t, "the mended file", before, n.Processes())
		})
	}
	t.Run("a bad edit is remembered by the next agent", func(t *testing.T) {
		n.Use(t)
		n.Write("app.yaml", "kind: [")
		n.Kill()
		n.Start()
		n.WaitRunning("app")
		n.Always(time.Second, "the pod running on", func() string {
			if p := n.Pod("app"); !node.Ready(p) {
				return node.Describe(p)
			}
			return ""
		})
		same(t, "a restart with a bad file", before, n.Processes())
	})
	t.Run("a removed bad file removes its pod", func(t *testing.T) {
		n.Use(t)
		n.Delete("app")
		n.WaitGone("app")
	})
}

func TestStrangeThingsInTheDirectoryHurtNobody(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	in := func(name string) string { return filepath.Join(n.Manifests(), name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// canary adds, runs and removes a pod: whatever lies in the directory, others go on.
	number := 0
	canary := func(what string) {
		t.Helper()
		number++
		name := fmt.Sprintf("canary%d", number)
		n.Apply(node.Pod(name, node.Sleep))
		n.Within(10*time.Second, name+" to run beside "+what, func() string {
			if p := n.Pod(name); !node.Ready(p) {
				return node.Describe(p)
			}
			return ""
		})
		n.Delete(name)
		n.WaitGone(name)
	}
	must(syscall.Mkfifo(in("fifo.yaml"), 0o644))
	canary("a FIFO")
	must(os.WriteFile(in("big.yaml"), nil, 0o644))
	must(os.Truncate(in("big.yaml"), 1<<30))
	canary("a sparse file of 1 GB")
	must(os.Symlink("/dev/zero", in("zero.yaml")))
	must(os.Symlink("loop.yaml", in("loop.yaml")))
	must(os.Symlink("/nowhere", in("dangling.yaml")))
	must(os.Mkdir(in("dir.yaml"), 0o755))
	canary("links to devices, to themselves and to nothing, and a directory")
	must(os.WriteFile(in("bomb.yaml"), []byte(bomb()), 0o644))
	canary("a YAML bomb")
	hidden := n.YAML(node.Pod("hidden", node.Sleep))
	for _, name := range []string{
		".hidden.yaml", ".hidden.yaml.swp", "hidden.yaml~", "hidden.yaml.bak", "hidden.yaml.orig", "hidden.yaml.rpmnew", "#hidden.yaml#",
		".#hidden.yaml", "4913", "hidden.yml.tmp", "hidden.txt", "hidden", "hidden.yaml.dpkg-dist", ".goutputstream-X1Y2Z3", "___jb_tmp___hidden.yaml.tmp",
	} {
		must(os.WriteFile(in(name), []byte(hidden), 0o644))
	}
	canary("editors' and backup files")
	if p := n.Pod("hidden"); p != nil {
		t.Errorf("a backup file became a pod: %s", node.Describe(p))
	}
	for i := range 10_000 {
		name := fmt.Sprintf("junk%d.txt", i)
		if i%10 == 0 {
			name = fmt.Sprintf("junk%d.yaml", i)
		}
		must(os.WriteFile(in(name), []byte("junk: [\n"), 0o644))
	}
	canary("10 000 junk files")
	if kb := residentKB(t, n.Pid()); kb > 250_000 {
		t.Errorf("the agent needs %d kB of memory after all that", kb)
	}
}

func TestDocumentsOfEveryForm(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	one := n.YAML(node.Pod("multi1", node.Sleep))
	two := n.YAML(node.Pod("multi2", node.Sleep))
	n.Write("multi.yml", "# first\n"+one+"---\n"+two+"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: other}\n")
	n.Write("list.yaml", "apiVersion: v1\nkind: List\nitems:\n- "+strings.TrimSpace(strings.ReplaceAll(n.YAML(node.Pod("listed", node.Sleep)), "\n", "\n  "))+"\n")
	n.Write("object.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"json"},"spec":{"containers":[{"name":"app","image":"`+node.Busybox+`","command":["sleep","3600"]}],"terminationGracePeriodSeconds":0}}`)
	n.WaitRunning("multi1", "multi2", "listed", "json")
	// One document goes, the other stays as it is.
	second := node.Of(n.Processes(), string(n.Pod("multi2").UID))
	n.Write("multi.yml", two)
	n.WaitGone("multi1")
	same(t, "removing the first document", second, node.Of(n.Processes(), string(n.WaitRunning("multi2").UID)))
	// A rename restarts nothing.
	if err := os.Rename(filepath.Join(n.Manifests(), "multi.yml"), filepath.Join(n.Manifests(), "renamed.yaml")); err != nil {
		t.Fatal(err)
	}
	n.Apply(node.Pod("after", node.Sleep))
	n.WaitRunning("after")
	same(t, "a rename", second, node.Of(n.Processes(), string(n.WaitRunning("multi2").UID)))
}

func TestTwoDocumentsWithOneName(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	n.Write("a.yaml", n.YAML(node.Pod("app", script("first"))))
	uid := n.WaitRunning("app").UID
	n.Write("0.yaml", n.YAML(node.Pod("app", script("second")))) // sorts before a.yaml: age decides, not the name
	n.Eventually("the conflict to be shown", func() string {
		out := n.MustAgent("describe", "pod", "app")
		if strings.Contains(out, "0.yaml") {
			return ""
		}
		return out
	})
	n.Always(500*time.Millisecond, "the first to run on", func() string {
		if p := n.Pod("app"); p == nil || p.UID != uid {
			return node.Describe(p)
		}
		return ""
	})
	if err := os.Remove(filepath.Join(n.Manifests(), "a.yaml")); err != nil {
		t.Fatal(err)
	}
	n.Wait("app", "taken over by the second", func(p *v1.Pod) bool { return node.Ready(p) && p.UID != uid })
	n.Eventually("only the second version to run", func() string { // a shell that forks is two for a moment
		if m := marks(n); m["second"] != 1 || len(m) != 1 {
			return fmt.Sprint(m)
		}
		return ""
	})
}

func TestDirectoryThatIsNotThereIsUnknownNotEmpty(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	names := apply(n, "p", 3)
	n.Settle()
	before := n.Processes()
	away := n.Manifests() + "-away"
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	stay := func(what string) {
		t.Helper()
		n.Always(1500*time.Millisecond, "pods running while "+what, func() string {
			for _, name := range names {
				if p := n.Pod(name); !node.Ready(p) {
					return node.Describe(p)
				}
			}
			return ""
		})
		same(t, what, before, n.Processes())
	}
	rename(n.Manifests(), away)
	stay("the directory is away")
	n.Kill()
	n.Start() // it may create the directory: what was there last is not forgotten
	for _, name := range names {
		n.WaitRunning(name) // the API answers before all pods are looked at
	}
	stay("the directory was away at the agent's start")
	_ = os.RemoveAll(n.Manifests())
	rename(away, n.Manifests())
	stay("the directory is back")
	n.Apply(node.Pod("late", node.Sleep))
	n.WaitRunning("late")
	n.Delete("late")
	n.WaitGone("late")
	// Another directory in its place: the same pods, then a change.
	if err := os.CopyFS(away, os.DirFS(n.Manifests())); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(n.Manifests()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	rename(away, n.Manifests())
	stay("the directory was replaced")
	n.Delete(names[0])
	n.WaitGone(names[0])
}

func TestMassRemovalWaitsAndIsConfirmed(t *testing.T) {
	n := embeddedOnly(t, "--mass-removal-grace", "3s")
	n.Start()
	var docs []string
	for i := range 5 {
		docs = append(docs, n.YAML(node.Pod(fmt.Sprintf("m%d", i), node.Sleep)))
	}
	all := strings.Join(docs, "---\n")
	n.Write("all.yaml", all)
	n.WaitRunning("m0", "m1", "m2", "m3", "m4")
	n.Settle()
	before := n.Processes()
	// Gone by mistake, and put back within the grace.
	n.Write("all.yaml", docs[0])
	time.Sleep(1500 * time.Millisecond)
	n.Write("all.yaml", all)
	n.Always(3*time.Second, "the pods running on", func() string {
		for i := range 5 {
			if p := n.Pod(fmt.Sprintf("m%d", i)); !node.Ready(p) {
				return node.Describe(p)
			}
		}
		return ""
	})
	same(t, "a removal taken back", before, n.Processes())
	// Meant.
	began := time.Now()
	n.Write("all.yaml", docs[0])
	n.WaitGone("m1", "m2", "m3", "m4")
	if took := time.Since(began); took < 2900*time.Millisecond {
		t.Errorf("four of five pods were removed after %v, want 3 s", took)
	}
	n.WaitRunning("m0")
	// Fewer than four pods: at once.
	began = time.Now()
	n.Write("all.yaml", "# nothing\n"+n.YAML(node.Pod("m9", node.Sleep)))
	n.WaitGone("m0")
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Errorf("one of one pod was removed after %v, want at once", took)
	}
}

func residentKB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	kb := 0
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("no VmRSS in status")
	return 0
}
