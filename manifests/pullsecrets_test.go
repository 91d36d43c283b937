package manifests

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pullSecrets are Secrets as kubectl create secret docker-registry makes them, for several registries.
func pullSecrets(t *testing.T) []*Config {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte("ann:pa55word"))
	text := fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: json}
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: '{"auths": {"reg.example:5000": {"auth": %q}, "reg.example:5000/team": {"username": "team", "password": "t"}, "https://index.docker.io/v1/": {"username": "hub", "password": "h"}}}'
---
apiVersion: v1
kind: Secret
metadata: {name: cfg}
type: kubernetes.io/dockercfg
stringData:
  .dockercfg: '{"*.example.org": {"username": "old", "password": "o"}}'
---
apiVersion: v1
kind: Secret
metadata: {name: opaque}
stringData: {user: x}
`, auth)
	docs := DecodeAll("f", []byte(text), Options{})
	for _, p := range docs.Problems {
		t.Fatal(p)
	}
	return docs.Configs
}

func TestPullCredentialsAreFoundAsTheKubeletFindsThem(t *testing.T) {
	const spec = "imagePullSecrets: [{name: json}, {name: cfg}, {name: opaque}, {name: gone}]\ncontainers: [{name: a, image: x}]"
	p := Bind([]*Pod{podOf(t, "", spec)}, pullSecrets(t))[0]
	for image, want := range map[string][]string{
		"reg.example:5000/app:1":       {"ann:pa55word default/json"},
		"reg.example:5000/team/app:1":  {"team:t default/json", "ann:pa55word default/json"},
		"docker.io/library/busybox:1":  {"hub:h default/json"},
		"a.example.org/app:1":          {"old:o default/cfg"},
		"elsewhere.example/app:1":      nil,
		"reg.example/app:1":            nil,
		"x.reg.example:5000/team/app:": nil,
	} {
		t.Run(image, func(t *testing.T) {
			found, missing, err := PullCredentials(p, image)
			var got []string
			for _, c := range found {
				got = append(got, c.Username+":"+c.Password+" "+c.Secret)
				if c.Hash == "" || strings.Contains(fmt.Sprintf("%v %+v %#v", c, c, c), "pa55") {
					t.Errorf("it has no hash, or shows itself: %#v", c)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
			if diff := cmp.Diff([]string{"gone"}, missing); diff != "" {
				t.Error(diff)
			}
		})
	}
}
