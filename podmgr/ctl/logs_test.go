package ctl

import (
	"slices"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

// twoContainers gives a pod a second container and an init container, each with a log of two lines.
func twoContainers(t *testing.T, n *node, annotation string) {
	post(n, "default", "web", func(p *v1.Pod, e *podmgr.Entry) {
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "side"})
		p.Spec.InitContainers = []v1.Container{{Name: "init"}}
		if annotation != "" {
			p.Annotations = map[string]string{defaultContainer: annotation}
		}
		end := v1.ContainerState{Terminated: &v1.ContainerStateTerminated{}}
		for i := range e.Status.ContainerStatuses {
			e.Status.ContainerStatuses[i].State = end
		}
		e.Status.ContainerStatuses = append(e.Status.ContainerStatuses, v1.ContainerStatus{Name: "side", ContainerID: "containerd://c2", State: end})
		e.Status.InitContainerStatuses = []v1.ContainerStatus{{Name: "init", ContainerID: "containerd://c3", State: end}}
	})
	for _, c := range []string{"app", "side", "init"} {
		w, err := logs.NewWriter(n.hub.File("default", "web", "u1", c, 0), logs.Options{Hub: n.hub})
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Copy(t.Context(), logs.Stdout, strings.NewReader(c+" one\n"+c+" two\n"))
		_ = w.Close()
	}
}

func TestLogs(t *testing.T) {
	const defaulted = "Defaulted container \"app\" out of: app, side, init\n"
	for _, c := range []struct {
		name, annotation string
		o                LogsOptions
		code             int
		out, stderr      string
	}{
		{"the first container, and a note", "", LogsOptions{Tail: -1}, 0, "app one\napp two\n", defaulted},
		{"the annotated container", "side", LogsOptions{Tail: 1}, 0, "side two\n", ""},
		{"an annotation that names none", "x", LogsOptions{Tail: 1}, 0, "app two\n", defaulted},
		{"the container asked for", "side", LogsOptions{Tail: -1, Container: "init", Prefix: true}, 0, "[pod/web/init] init one\n[pod/web/init] init two\n", ""},
		{"all containers, init containers first", "", LogsOptions{Tail: 1, AllContainers: true}, 0, "init two\napp two\nside two\n", ""},
		{"nothing that new", "", LogsOptions{Tail: -1, Container: "app", SinceTime: "2100-01-01T00:00:00Z"}, 0, "", ""},
		{"the last hour", "", LogsOptions{Tail: 1, Container: "app", Since: time.Hour}, 0, "app two\n", ""},
		{"no such container", "", LogsOptions{Container: "x"}, ExitNotFound, "", ""},
		{"no such pod", "", LogsOptions{Pod: "x"}, ExitNotFound, "", ""},
		{"no previous instance", "", LogsOptions{Container: "app", Previous: true}, ExitFailed, "", ""},
		{"two sinces", "", LogsOptions{Since: 1, SinceTime: "2025-01-01T00:00:00Z"}, ExitUsage, "", ""},
		{"a time that is none", "", LogsOptions{SinceTime: "yesterday"}, ExitUsage, "", ""},
		{"all and one", "", LogsOptions{AllContainers: true, Container: "app"}, ExitUsage, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			twoContainers(t, n, c.annotation)
			if c.o.Pod == "" {
				c.o.Pod = "web"
			}
			out, stderr, err := run(func(s Streams) error { return Logs(t.Context(), n.Client, s, c.o) })
			if d := cmp.Diff([]string{c.out, c.stderr}, []string{out, stderr}); d != "" || ExitCode(err) != c.code {
				t.Errorf("exit %d (%v): %s", ExitCode(err), err, d)
			}
		})
	}
}

func TestFollowingAllContainersKeepsLinesWhole(t *testing.T) {
	n := newNode(t)
	twoContainers(t, n, "")
	o := LogsOptions{Pod: "web", AllContainers: true, Follow: true, Prefix: true, Tail: -1}
	out, _, err := run(func(s Streams) error { return Logs(t.Context(), n.Client, s, o) })
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	want := []string{
		"[pod/web/app] app one", "[pod/web/app] app two", "[pod/web/init] init one", "[pod/web/init] init two",
		"[pod/web/side] side one", "[pod/web/side] side two",
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
}

func TestLogsOfSelectedPods(t *testing.T) {
	n := newNode(t)
	twoContainers(t, n, "")
	for name, c := range map[string]struct {
		o    LogsOptions
		code int
		out  string
	}{
		"of one container":     {LogsOptions{Selector: "app=web", Container: "side", Tail: -1, Prefix: true}, 0, "[pod/web/side] side one\n[pod/web/side] side two\n"},
		"of all, the last":     {LogsOptions{Selector: "app in (web, other)", AllContainers: true, Tail: 1}, 0, "init two\napp two\nside two\n"},
		"of none":              {LogsOptions{Selector: "app=other", Tail: -1}, 0, ""},
		"and a pod":            {LogsOptions{Selector: "app=web", Pod: "web"}, ExitUsage, ""},
		"by what no label has": {LogsOptions{Selector: "a b"}, ExitUsage, ""},
	} {
		out, _, err := run(func(s Streams) error { return Logs(t.Context(), n.Client, s, c.o) })
		if ExitCode(err) != c.code || out != c.out {
			t.Errorf("%s: %v, got %q", name, err, out)
		}
	}
}
