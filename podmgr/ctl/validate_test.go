package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const goodPod = `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: app
    image: nginx
`

func TestValidateKnowsTheRuntimeClassesOfTheAgentOrIsTold(t *testing.T) {
	n := newNode(t)
	const refused, unknown = `<stdin>:6: spec.runtimeClassName: runtimeclass.node.k8s.io "gvisor" not found`, `warning: <stdin>:6: spec.runtimeClassName: whether the node has the runtime class "gvisor" is not known here`
	for _, c := range []struct {
		name   string
		client *Client
		given  []string
		code   int
		want   string
	}{
		{"an agent that has it not", n.Client, nil, 1, refused + " (this node has kata; see --runtime-class)\n"},
		{"no agent", NewClient("/nonexistent"), nil, 0, "<stdin>: ok, pod default/web\n" + unknown + "\n"},
		{"given", NewClient("/nonexistent"), []string{"gvisor"}, 0, "<stdin>: ok, pod default/web\n"},
		{"given as the agent has it", n.Client, []string{"gvisor=io.containerd.runsc.v1"}, 0, "<stdin>: ok, pod default/web\n"},
		{"others given", n.Client, []string{"b=io.b", "a=io.a"}, 1, refused + " (this node has a, b; see --runtime-class)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, err := run(func(s Streams) error {
				s.In = strings.NewReader(strings.Replace(goodPod, "spec:\n", "spec:\n  runtimeClassName: gvisor\n", 1))
				return Validate(s, manifests.Options{RuntimeClasses: c.client.runtimeClasses(t.Context(), c.given)}, []string{"-"})
			})
			if ExitCode(err) != c.code || out+errs != c.want {
				t.Errorf("exit %d: %s%s", ExitCode(err), out, errs)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := strings.Replace(goodPod, "image:", "imag:", 1)
	write("good.yaml", goodPod)
	write("bad.yaml", bad)
	write("dir/a.yaml", goodPod)
	write("dir/b.yml", goodPod)
	write("dir/c.yaml~", bad)
	write("dir/.d.yaml", bad)
	write("empty/readme.txt", "")
	if err := unix.Mkfifo(filepath.Join(dir, "dir", "fifo.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		stdin string
		code  int
		want  []string // each is in a line of the output, in this order
	}{
		{"a good file", []string{"good.yaml"}, "", 0, []string{"good.yaml: ok, pod default/web"}},
		{"a field that does not exist, with its line", []string{"bad.yaml"}, "", 1, []string{"bad.yaml:8: spec.containers[0].imag: "}},
		{"one name in two files of a directory", []string{"dir"}, "", 1, []string{
			"dir/a.yaml: ok, pod default/web", "dir/b.yml:1: metadata.name: pod default/web is already defined at dir/a.yaml:1",
		}},
		{"standard input", []string{"-"}, goodPod, 0, []string{"<stdin>: ok, pod default/web"}},
		{"a directory without manifests", []string{"empty"}, "", 0, nil},
		{"a file that does not exist", []string{"none.yaml", "good.yaml"}, "", 1, []string{"none.yaml: no such file or directory", "good.yaml: ok, pod default/web"}},
		{"too large a file", []string{"-"}, strings.Repeat("#", 2<<20), 1, []string{"<stdin>: "}},
		{"no argument", nil, "", ExitUsage, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(dir)
			out, _, err := run(func(s Streams) error {
				s.In = strings.NewReader(c.stdin)
				return Validate(s, manifests.Options{}, c.args)
			})
			if ExitCode(err) != c.code {
				t.Errorf("exit %d: %v", ExitCode(err), err)
			}
			var got []string
			for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
				if i < len(c.want) && strings.HasPrefix(line, c.want[i]) {
					line = c.want[i]
				}
				if line != "" {
					got = append(got, line)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
