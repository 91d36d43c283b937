package manifests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// marker is the value that no message, log or view may ever show.
const marker = "hunter2"

func configsOf(t *testing.T, text string) []*Config {
	t.Helper()
	d := DecodeAll("f", []byte(text), box)
	for _, p := range d.Problems {
		t.Error(p)
	}
	return d.Configs
}

// view writes down all that a Config says.
func view(c *Config) string {
	s := c.String() + " " + string(c.Type)
	for _, k := range c.Keys() {
		b, _ := c.Bytes(k)
		text, ok := c.Text(k)
		s += fmt.Sprintf(" %s=%s/%s/%t", k, b, text, ok)
	}
	return s
}

func TestConfigMapsAndSecretsAreDecoded(t *testing.T) {
	got := []string{}
	for _, c := range configsOf(t, `
apiVersion: v1
kind: ConfigMap
metadata: {name: c, uid: x, resourceVersion: "1", creationTimestamp: null, managedFields: []}
data: {a: text, b: ""}
binaryData: {bin: AAE=}
immutable: true
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: ns, annotations: {kubectl.kubernetes.io/last-applied-configuration: x}}
data: {a: dGV4dA==, b: Yg==}
stringData: {b: over, c: new}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: in-list}}
- {apiVersion: v1, kind: Secret, metadata: {name: d}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: "{}"}}
---
apiVersion: v1
kind: SecretList
items: [{metadata: {name: typed}}]
`) {
		got = append(got, view(c))
	}
	want := []string{
		`configmap "default/c"  a=text/text/true b=//true bin=` + "\x00\x01" + `//false`,
		`secret "ns/s" Opaque a=text/text/true b=over/over/true c=new/new/true`,
		`configmap "default/in-list" `,
		`secret "default/d" kubernetes.io/dockerconfigjson .dockerconfigjson={}/{}/true`,
		`secret "default/typed" Opaque`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadConfigFilesGiveTheirProblemsAndTheGoodObjectsBesideThem(t *testing.T) {
	for name, data := range corpus(t, "testdata/config/*") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			d := DecodeAll(filepath.Base(name), data, box)
			var got strings.Builder
			for _, p := range d.Problems {
				fmt.Fprintf(&got, "%s", p)
				if p.Config != (ConfigKey{}) {
					fmt.Fprintf(&got, " <%s>", p.Config)
				}
				fmt.Fprintln(&got)
			}
			for _, c := range d.Configs {
				fmt.Fprintf(&got, "%s at %s\n", c, c.Origin)
			}
			golden := strings.TrimSuffix(name, filepath.Ext(name)) + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(got.String(), marker) {
				t.Error("a problem shows a value of a secret")
			}
		})
	}
}

func TestDecodeLeavesConfigMapsToDecodeAll(t *testing.T) {
	_, problems := Decode("f", []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"), box)
	if len(problems) != 1 || !strings.Contains(problems[0].Message, `kind "Secret" is not supported`) {
		t.Errorf("problems %v", problems)
	}
}

func TestAConfigNeverPrintsItsValues(t *testing.T) {
	c := configsOf(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: "+marker+"}\n")[0]
	js, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		C *Config
		V Config
	}{c, *c}
	for _, text := range []string{
		string(js), fmt.Sprint(c), fmt.Sprintf("%+v %#v %q %x %d", c, c, c, c, c), fmt.Sprintf("%+v %#v", holder, holder),
	} {
		if strings.Contains(text, marker) || strings.Contains(text, fmt.Sprintf("%x", marker)) || strings.Contains(text, "104 117 110") {
			t.Errorf("the value is in %s", text)
		}
	}
}

func TestAStoredConfigComesBackTheSame(t *testing.T) {
	for _, c := range configsOf(t, `
apiVersion: v1
kind: Secret
metadata: {name: s, labels: {a: b}}
stringData: {k: <v>}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {k: v}
binaryData: {b: AAE=}
`) {
		b, err := EncodeConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeStoredConfig(b)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Equal(back) || view(c) != view(back) {
			t.Errorf("%s came back as %s", view(c), view(back))
		}
		if _, err := DecodeStoredConfig(b[:len(b)/2]); err == nil {
			t.Error("a damaged copy was taken")
		}
		if _, err := DecodeStored(b); err == nil {
			t.Error("it was taken for a pod")
		}
	}
}

func TestTheHashTellsDataApart(t *testing.T) {
	seen := map[string]string{}
	for _, data := range []string{
		"data: {a: b}", "data: {a: c}", "data: {ab: ''}", "data: {a: '', b: ''}", "data: {}", "binaryData: {a: Yg==}",
	} {
		h := configsOf(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"+data+"\n")[0].Hash()
		if other, ok := seen[h]; ok {
			t.Errorf("%s has the hash of %s", data, other)
		}
		seen[h] = data
	}
	same := configsOf(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, labels: {a: b}}\ndata: {a: b}\n")[0].Hash()
	if seen[same] != "data: {a: b}" {
		t.Error("a name or a label changed the hash of the data")
	}
}
