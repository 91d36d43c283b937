package ctl

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
)

func TestSecretsAreTakenOut(t *testing.T) {
	r := newRedactor()
	for _, text := range []string{
		`{"password":"S3CRET-1"}`, `{"registry-token": "S3CRET-1", "x": 1}`, "DB_PASSWORD=S3CRET-1 next", "password: S3CRET-1", "api_key='S3CRET-1'",
		"mysql --password=S3CRET-1 -h db", `["--token","S3CRET-1"]`, "args:\n  - --token\n  - S3CRET-1\n", "run --db-password S3CRET-1", "Authorization: Bearer S3CRET-1.abc", "authorization: basic S3CRET-1",
		"postgres://user:S3CRET-1@db/x", "https://:S3CRET-1@host", "-----BEGIN EC PRIVATE KEY-----\nS3CRET-1\n-----END EC PRIVATE KEY-----",
		"eyJhbGciOiJIUzI1.eyJzdWIiOiIx.S3CRET-1", "PASSPHRASE=\"S3CRET-1 S3CRET-1\"", `"accessKeyId": "x", "secretAccessKey": "S3CRET-1"`,
	} {
		if got := r.text(text); strings.Contains(got, "S3CRET-1") {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, text := range []string{"nothing to hide", "http://host:8080/path", "tokens are counted", "image: nginx:1.27@sha256:abc", "key: value", "2025-01-02T03:04:05Z stdout F ok"} {
		if got := r.text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestABundleHoldsWhatHelpsAndNoSecrets(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", func(p *v1.Pod, _ *podmgr.Entry) {
		p.Spec.Containers[0].Env = []v1.EnvVar{{Name: "DB_PASSWORD", Value: "correct-horse"}, {Name: "API_KEY", Value: `b<at>"tery"`}, {Name: "COLOUR", Value: "blue"}}
		p.Annotations = map[string]string{v1.LastAppliedConfigAnnotation: "correct-horse"}
	})
	n.board.Record(podmgr.Event{
		Pod: manifests.Key{Namespace: "default", Name: "web"}, Type: v1.EventTypeWarning, Reason: "Unhealthy",
		Message: `cannot log in with correct-horse or b<at>"tery"`,
	})
	w := n.log(t, "web")
	w.print("hello from web\nconnecting with correct-horse\n")
	w.close()
	put(t, n.manifest, map[string]string{"secret.yaml": "stringData: {k: correct-horse}"})
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	out, _, err := run(func(s Streams) error {
		return SupportBundle(t.Context(), n.Client, s, BundleOptions{File: file, Lines: 100, Check: CheckOptions{Manifests: []string{n.manifest}}})
	})
	if err != nil || out != file+"\n" {
		t.Fatalf("%q %v", out, err)
	}
	if st, _ := os.Stat(file); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	files := unzip(t, file)
	for name, want := range map[string]string{
		"pods.yaml": "COLOUR", "logs/default/web/app.log": "hello from web", "healthz.txt": "ping ok", "version.json": "v0.1.0", "configz.json": n.manifest,
		"events.json": "cannot log in", "check.txt": "kernel", "host/uname.txt": "Linux", "errors.txt": "metrics.txt", "host/proc/meminfo.txt": "MemTotal",
	} {
		if !strings.Contains(files["agent-support/"+name], want) {
			t.Errorf("%s lacks %q: %.200s", name, want, files["agent-support/"+name])
		}
	}
	listed := false
	for name, text := range files {
		if strings.Contains(text, "correct-horse") || strings.Contains(text, "hunter2") || strings.Contains(text, "tery") {
			t.Errorf("%s has a secret", name)
		}
		listed = listed || strings.Contains(text, "secret.yaml")
	}
	if !listed {
		t.Error("the manifests are not listed")
	}
}

func unzip(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(b)
	}
}
