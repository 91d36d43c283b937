package containerd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRuntimeClassesAreReadFromFlags(t *testing.T) {
	for _, c := range []struct {
		name string
		list []string
		want map[string]handler
		err  string
	}{
		{name: "none", want: map[string]handler{}},
		{
			name: "two", list: []string{"kata=io.containerd.kata.v2", "crun=io.containerd.runc.v2:/usr/bin/crun"},
			want: map[string]handler{"kata": {runtime: "io.containerd.kata.v2"}, "crun": {runtime: runcRuntime, binary: "/usr/bin/crun"}},
		},
		{name: "no runtime", list: []string{"kata="}, err: "want NAME=RUNTIME"},
		{name: "no name", list: []string{"=x"}, err: "want NAME=RUNTIME"},
		{name: "no equals sign", list: []string{"kata"}, err: "want NAME=RUNTIME"},
		{name: "a binary for a runtime that takes none", list: []string{"k=io.containerd.kata.v2:/x"}, err: "takes a binary"},
		{name: "a name twice", list: []string{"a=b", "a=c"}, err: "named twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseHandlers(c.list)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want an error with %q", err, c.err)
				}
				return
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(handler{})); err != nil || d != "" {
				t.Errorf("%v\n%s", err, d)
			}
		})
	}
}

func TestTheHandlerOfAPod(t *testing.T) {
	r := &Runtime{cfg: Config{OCIRuntime: "/runc"}, handlers: map[string]handler{"fast": {runtime: "io.fast"}}}
	for _, c := range []struct {
		name  string
		class *string
		api   bool
		want  handler
		err   string
	}{
		{name: "no class", want: handler{runcRuntime, "/runc"}},
		{name: "an empty class", class: new(""), want: handler{runcRuntime, "/runc"}},
		{name: "a known class", class: new("fast"), want: handler{runtime: "io.fast"}},
		{name: "a known class of an API server", class: new("fast"), api: true, want: handler{runtime: "io.fast"}},
		{name: "a class of an API server with the default handler", class: new("plain"), api: true, want: handler{runcRuntime, "/runc"}},
		{name: "an unknown class", class: new("slow"), err: `runtimeclass.node.k8s.io "slow" not found`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &v1.Pod{Spec: v1.PodSpec{RuntimeClassName: c.class}}
			if c.api {
				p.ObjectMeta = metav1.ObjectMeta{ResourceVersion: "1"}
			}
			got, err := r.handler(p)
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) || got != c.want {
				t.Errorf("got %v and %v", got, err)
			}
		})
	}
}
