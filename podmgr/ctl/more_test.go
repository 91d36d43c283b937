package ctl

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
)

func TestColoursAreForTerminals(t *testing.T) {
	n := zoo(t)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	user, program := openPTY(t)
	show := func(f *os.File) string {
		if err := GetPods(t.Context(), n.Client, Streams{Out: f, Err: &bytes.Buffer{}}, GetOptions{NoHeaders: true}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		k, err := user.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:k])
	}
	if got := show(program); !strings.Contains(got, green+"Running"+plain) || !strings.Contains(got, red+"CrashLoopBackOff"+plain) {
		t.Errorf("got %q", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := show(program); strings.Contains(got, "\x1b") {
		t.Errorf("with NO_COLOR: %q", got)
	}
}

func TestGetByJSONPath(t *testing.T) {
	n := zoo(t)
	out, _, err := run(func(s Streams) error {
		return GetPods(t.Context(), n.Client, s, GetOptions{Output: `jsonpath={range .items[?(@.status.phase=="Succeeded")]}{.metadata.name}{"\n"}{end}`})
	})
	if err != nil || out != "done\n" {
		t.Errorf("%q %v", out, err)
	}
	if _, _, err := run(func(s Streams) error { return GetImages(t.Context(), n.Client, s, GetOptions{Output: "jsonpath={"}) }); ExitCode(err) != ExitUsage {
		t.Error(err)
	}
}

func TestGetConfigMapsAndSecretsAndTheNode(t *testing.T) {
	n := newNode(t)
	docs := manifests.DecodeAll("/m/c.yaml", []byte(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {level: debug, lang: en}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: shop}
stringData: {password: hunter2}
`), manifests.Options{})
	n.board.SetConfigs(docs.Configs)
	for name, r := range map[string]struct {
		get  func(context.Context, *Client, Streams, GetOptions) error
		o    GetOptions
		want string
	}{
		"configmaps":       {GetConfigMaps, GetOptions{}, "NAME       DATA   AGE\nsettings   2      <unknown>\n"},
		"by name":          {GetConfigMaps, GetOptions{Output: "name"}, "configmap/settings\n"},
		"data":             {GetConfigMaps, GetOptions{Output: "jsonpath={.data.level}", Names: []string{"settings"}}, "debug"},
		"secrets":          {GetSecrets, GetOptions{AllNamespaces: true}, "NAMESPACE   NAME   TYPE     DATA   AGE\nshop        keys   Opaque   1      <unknown>\n"},
		"a secret's value": {GetSecrets, GetOptions{Namespace: "shop", Output: "jsonpath={.data.password}", Names: []string{"keys"}}, "null"},
		"the node":         {GetNode, GetOptions{}, "NAME     STATUS   AGE   VERSION\nnode-1   Ready    3h    v0.1.0\n"},
		"the node, wide":   {GetNode, GetOptions{Output: "wide", NoHeaders: true}, "node-1   Ready   3h    v0.1.0   192.0.2.1   Debian   6.1   containerd://2.4.2\n"},
	} {
		out, _, err := run(func(s Streams) error { return r.get(t.Context(), n.Client, s, r.o) })
		if err != nil || out != r.want {
			t.Errorf("%s: %v, got\n%swant\n%s", name, err, out, r.want)
		}
	}
	for name, o := range map[string]GetOptions{"none of that name": {Names: []string{"nobody"}}, "a watch": {Watch: true}} {
		if _, _, err := run(func(s Streams) error { return GetSecrets(t.Context(), n.Client, s, o) }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	n := newNode(t)
	out, _, err := run(func(s Streams) error { return PinImages(t.Context(), n.Client, s, []string{"a", "gone", "b"}, true) })
	if ExitCode(err) == 0 || out != "a\nb\n" || strings.Join(n.images.pinned, ",") != "a true,b true" {
		t.Errorf("%v, printed %q, told %v", err, out, n.images.pinned)
	}
	if err := PinImages(t.Context(), n.Client, Streams{}, nil, false); ExitCode(err) != ExitUsage {
		t.Error(err)
	}
}
