package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

func TestHealthHasParts(t *testing.T) {
	f := newFixture(t)
	bad := error(nil)
	f.Checks = []health.Named{
		{Name: "containerd", Check: func(context.Context) error { return bad }},
		{Name: "disk", Check: func(context.Context) error { return nil }},
	}
	for _, c := range []struct {
		path string
		bad  error
		code int
		want string
	}{
		{"/healthz", nil, 200, "ok"},
		{"/healthz?verbose", nil, 200, "[+]ping ok\n[+]containerd ok\n[+]disk ok\nhealthz check passed\n"},
		{"/healthz", errors.New("gone"), 503, "[+]ping ok\n[-]containerd failed: gone\n[+]disk ok\nhealthz check failed\n"},
		{"/healthz/disk", errors.New("gone"), 200, "ok"},
		{"/healthz/containerd", errors.New("gone"), 503, "[-]containerd failed: gone\nhealthz check failed\n"},
	} {
		bad = c.bad
		if code, body := f.do(t, "GET", c.path, nil); code != c.code || body != c.want {
			t.Errorf("%s: %d %q", c.path, code, body)
		}
	}
	if code, _ := f.do(t, "GET", "/healthz/moon", nil); code != 404 {
		t.Errorf("a part that is not: %d", code)
	}
}

func TestHostLogsAreReadAndNothingElse(t *testing.T) {
	f := newFixture(t)
	outside := filepath.Join(t.TempDir(), "secret")
	f.HostLogs = t.TempDir()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(outside, []byte("secret"), 0o600))
	must(os.Mkdir(filepath.Join(f.HostLogs, "sub"), 0o755))
	must(os.WriteFile(filepath.Join(f.HostLogs, "sub", "a<b>.log"), []byte("line\n"), 0o600))
	must(os.Symlink(outside, filepath.Join(f.HostLogs, "link")))
	must(os.Symlink(filepath.Dir(outside), filepath.Join(f.HostLogs, "dirlink")))
	must(os.Link(filepath.Join(f.HostLogs, "sub", "a<b>.log"), filepath.Join(f.HostLogs, "twice")))
	must(os.WriteFile(filepath.Join(f.HostLogs, "sub", "whole"), []byte("0123456789"), 0o600))
	for path, want := range map[string]string{
		"/logs/sub/whole": "0123456789",
		"/logs/sub/":      `<a href="./a%3Cb%3E.log">a&lt;b&gt;.log</a>`,
	} {
		if code, body := f.do(t, "GET", path, nil); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/logs/link", "/logs/dirlink/secret", "/logs/twice", "/logs/%2e%2e/secret", "/logs/none", "/logs/sub/whole/x"} {
		if code, body := f.do(t, "GET", path, nil); code != 404 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestRestartIsPassedOn(t *testing.T) {
	f := newFixture(t)
	f.board.Post(entry("default", "web", "u1", running(0)))
	if code, _ := f.do(t, "POST", "/restart/default/web", nil); code != 501 {
		t.Errorf("without anybody who restarts: %d", code)
	}
	var got []string
	f.Restart = func(_ context.Context, k manifests.Key) error {
		got = append(got, k.String())
		return nil
	}
	for path, want := range map[string]int{
		"/restart/default/web": 202, "/restart/default/x": 404,
	} {
		if code, body := f.do(t, "POST", path, nil); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if len(got) != 1 || got[0] != "default/web" {
		t.Errorf("restarted %q", got)
	}
}

func TestFollowersAreCapped(t *testing.T) {
	f := newFixture(t)
	f.board.Post(entry("default", "web", "u1", running(0)))
	f.logOf(t, "web", 0)
	k := manifests.Key{Namespace: "default", Name: "web"}
	for range maxFollowersPerPod {
		if _, err := f.followers.take(k); err != nil {
			t.Fatal(err)
		}
	}
	if code, _ := f.do(t, "GET", "/containerLogs/default/web/app?follow=true", nil); code != 429 {
		t.Errorf("one follower too many: %d", code)
	}
	if code, _ := f.do(t, "GET", "/containerLogs/default/web/app", nil); code != 200 {
		t.Errorf("one who does not follow: %d", code)
	}
}

func TestAHandlerThatPanicsDisturbsNobody(t *testing.T) {
	f := newFixture(t)
	f.handle("GET /boom", Admin, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	if code, body := f.do(t, "GET", "/boom", nil); code != 500 || !strings.Contains(body, "internal error") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := f.do(t, "GET", "/healthz", nil); code != 200 {
		t.Errorf("after it: %d", code)
	}
}

func TestConfigMapsAndSecretsAreListedAndSecretsKeepTheirValues(t *testing.T) {
	f := newFixture(t)
	docs := manifests.DecodeAll("/m/c.yaml", []byte(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {level: debug}
binaryData: {raw: /w==}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: shop}
stringData: {password: hunter2}
`), manifests.Options{})
	if len(docs.Problems) > 0 {
		t.Fatal(docs.Problems)
	}
	f.board.SetConfigs(docs.Configs)
	code, body := f.do(t, "GET", "/configmaps", nil)
	var maps v1.ConfigMapList
	if err := json.Unmarshal([]byte(body), &maps); err != nil || code != 200 || len(maps.Items) != 1 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	m := maps.Items[0]
	if m.Name != "settings" || m.Namespace != "default" || m.Data["level"] != "debug" || string(m.BinaryData["raw"]) != "\xff" || m.Annotations[FileAnnotation] != "/m/c.yaml:1" {
		t.Errorf("got %+v", m)
	}
	code, body = f.do(t, "GET", "/secrets", nil)
	if code != 200 || !strings.Contains(body, `"data":{"password":null}`) || !strings.Contains(body, `"type":"Opaque"`) {
		t.Errorf("%d %s", code, body)
	}
	for _, secret := range []string{"hunter2", "aHVudGVyMg"} {
		if strings.Contains(body, secret) {
			t.Errorf("the list tells %s", secret)
		}
	}
}

func TestImagesArePinnedByHand(t *testing.T) {
	f := newFixture(t)
	for query, want := range map[string]string{"?ref=nginx": "nginx true", "?ref=nginx&pinned=false": "nginx false"} {
		if code, body := f.do(t, "POST", "/images/pin"+query, nil); code != 204 || f.images.pinned != want {
			t.Errorf("%s: %d %s, told %q", query, code, body, f.images.pinned)
		}
	}
	if code, _ := f.do(t, "POST", "/images/pin?ref=nginx&pinned=maybe", nil); code != 400 {
		t.Errorf("maybe: %d", code)
	}
	f.images.byHand = true
	if code, body := f.do(t, "DELETE", "/images?ref=nginx", nil); code != 409 || !strings.Contains(body, "unpin") {
		t.Errorf("a pinned image was removed: %d %s", code, body)
	}
	if code, _ := f.do(t, "DELETE", "/images?ref=nginx&force=true", nil); code != 204 {
		t.Errorf("with force: %d", code)
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	f := newFixture(t)
	var mu sync.Mutex
	var seen []string
	f.Requested = func(method, path, door string, long bool) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprint(method, " ", path, " ", door, " ", long))
	}
	for _, path := range []string{"/pods", "/pods/", "/containerLogs/a/b/c?follow=true", "/exec/a/b/c", "/nothing", "/metrics", "/logs/x/y"} {
		f.do(t, "GET", path, nil)
	}
	mu.Lock()
	defer mu.Unlock()
	want := []string{"GET pods socket false", "GET pods socket false", "GET containerLogs socket true", "GET exec socket true", "GET logs socket false"}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("counted (-want +have):\n%s", d)
	}
}
