package manifests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const withToken = `
serviceAccountName: default
containers: [{name: a, image: x, securityContext: {runAsUser: 1000}, env: [{name: B, value: $(A)}]}]
volumes:
- name: api
  projected:
    sources:
    - serviceAccountToken: {path: token}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
`

func TestAGrantIsDataOfThePodAndKeepsItsUID(t *testing.T) {
	p := podOf(t, `annotations: {agent.edgepod.dev/restart-on-config-change: "true"}`, withToken)
	ca := FromConfigMap(&v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "CA"},
	}, "https://server")
	grant := func(token string) Grant {
		return Grant{Files: map[FileKey][]byte{{"api", "token"}: []byte(token)}, Env: []EnvVar{{"A", "1"}}}
	}
	a, same, other := BindGranted(p, []*Config{ca}, grant("s3cret")), BindGranted(p, []*Config{ca}, grant("s3cret")), BindGranted(p, []*Config{ca}, grant("x"))
	if a.UID() != p.UID() || other.UID() != p.UID() {
		t.Error("the UID of the API server changed")
	}
	if !a.Bound.Equal(same.Bound) || a.Bound.Equal(other.Bound) || !a.Same(same) || a.Same(other) {
		t.Error("the hash does not tell two tokens apart, or one token from itself")
	}
	files, err := VolumeFiles(a, &a.Object.Spec.Volumes[0], Facts{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]File{"token": {Data: []byte("s3cret"), Mode: 0o600, UID: 1000}, "ca.crt": {Data: []byte("CA"), Mode: 0o644}}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	env, _, err := Environment(a, &a.Object.Spec.Containers[0], Facts{})
	if diff := cmp.Diff([]EnvVar{{"A", "1"}, {"B", "1"}}, env); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if text := fmt.Sprintf("%+v %#v", a.Bound, *a.Bound); strings.Contains(text, "s3cret") {
		t.Errorf("the token shows in %s", text)
	}
}

func TestAGrantThatIsMissingIsNamed(t *testing.T) {
	p := podOf(t, "", withToken)
	for name, test := range map[string]struct {
		pod  *Pod
		want string
	}{
		"without an API server": {p, needsToken},
		"not there yet":         {BindGranted(p, nil, Grant{Env: []EnvVar{{"A", "1"}}}), `the serviceAccountToken for "token" is not there yet`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := VolumeFiles(test.pod, &p.Object.Spec.Volumes[0], Facts{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestACredentialBelongsToTheOnlyUserOfThePod(t *testing.T) {
	for name, test := range map[string]struct {
		spec string
		want int64 // -1: nobody in particular
	}{
		"all by the pod":     {"securityContext: {runAsUser: 5}\ncontainers: [{name: a, image: x}, {name: b, image: x}]", 5},
		"two users":          {"securityContext: {runAsUser: 5}\ncontainers: [{name: a, image: x}, {name: b, image: x, securityContext: {runAsUser: 6}}]", -1},
		"one says nothing":   {"containers: [{name: a, image: x}, {name: b, image: x, securityContext: {runAsUser: 6}}]", -1},
		"init containers do": {"initContainers: [{name: i, image: x}]\ncontainers: [{name: b, image: x, securityContext: {runAsUser: 6}}]", -1},
	} {
		t.Run(name, func(t *testing.T) {
			got := int64(-1)
			if u := onlyUser(podOf(t, "", test.spec).Object); u != nil {
				got = *u
			}
			if got != test.want {
				t.Errorf("user %d, want %d", got, test.want)
			}
		})
	}
}
