package manifests

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfAVolume(t *testing.T) {
	for name, test := range map[string]struct {
		source string
		want   string // path mode content, sorted
		err    string
	}{
		"a ConfigMap":              {source: "configMap: {name: c}", want: "SELF 644 $(a)|a 644 ca|b 644 cb|bin 644 \x00\x01|x.y-z 644 dotted"},
		"a mode":                   {source: "secret: {secretName: s, defaultMode: 0o400}", want: "a 400 sa|nul 400 a\x00b|pw 400 hunter2"},
		"items with modes":         {source: "secret: {secretName: s, defaultMode: 0o400, items: [{key: a, path: d/x, mode: 0o440}, {key: pw, path: yy}]}", want: "d/x 440 sa|yy 400 hunter2"},
		"an item missing":          {source: "configMap: {name: c, items: [{key: gone, path: x}]}", err: `volume "v": configmap references non-existent config key: gone`},
		"a Secret's item missing":  {source: "secret: {secretName: s, items: [{key: gone, path: x}]}", err: `volume "v": references non-existent secret key: gone`},
		"an optional item missing": {source: "configMap: {name: c, optional: true, items: [{key: gone, path: x}, {key: a, path: yy}]}", want: "yy 644 ca"},
		"a ConfigMap missing":      {source: "configMap: {name: gone}", err: `volume "v": configmap "gone" not found`},
		"a Secret missing":         {source: "secret: {secretName: gone}", err: `volume "v": secret "gone" not found`},
		"an optional one missing":  {source: "secret: {secretName: gone, optional: true}", want: ""},
		"the pod's own fields": {
			source: "downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.annotations}}, {path: d/name, mode: 0o600, fieldRef: {fieldPath: metadata.name}}, {path: cpu, resourceFieldRef: {containerName: a, resource: limits.cpu}}]}",
			want:   "cpu 644 4|d/name 600 web|labels 644 app=\"shop\"\nkubernetes.io/config.hash=\"11111111-2222-8333-8444-555555555555\"\nkubernetes.io/config.source=\"file\"\ntier=\"a\\\"b\"",
		},
		"projected, the later source wins": {
			source: "projected: {defaultMode: 0o440, sources: [{configMap: {name: c}}, {secret: {name: s, items: [{key: a, path: b}, {key: pw, path: p, mode: 0o400}]}}, {downwardAPI: {items: [{path: nn, fieldRef: {fieldPath: metadata.name}}]}}]}",
			want:   "SELF 440 $(a)|a 440 ca|b 440 sa|bin 440 \x00\x01|nn 440 web|p 400 hunter2|x.y-z 440 dotted",
		},
		"projected, all that is missing is named": {
			source: "projected: {sources: [{configMap: {name: no1}}, {secret: {name: no2}}, {secret: {name: no3, optional: true}}]}",
			err:    "configmap \"no1\" not found\nsecret \"no2\" not found",
		},
		"a service account token": {source: "projected: {sources: [{serviceAccountToken: {path: token}}]}", err: "serviceAccountToken is not supported: there are no service account tokens without an API server"},
		"a directory":             {source: "emptyDir: {}", err: "its content is not made of documents"},
	} {
		t.Run(name, func(t *testing.T) {
			p := podOf(t, `annotations: {tier: 'a"b', app: shop}`, "serviceAccountName: default\ncontainers: [{name: a, image: x}]\nvolumes: [{name: v, "+test.source+"}]")
			p = Bind([]*Pod{p}, objects(t))[0]
			v := &p.Object.Spec.Volumes[0]
			files, err := VolumeFiles(p, v, facts)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			var got []string
			for _, path := range sortedKeys(files) {
				got = append(got, fmt.Sprintf("%s %o %s", path, files[path].Mode, files[path].Data))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "|")); diff != "" {
				t.Error(diff)
			}
			if VolumeHasFiles(v) == (v.EmptyDir != nil) {
				t.Error("VolumeHasFiles is wrong about it")
			}
		})
	}
}
