package e2e

import (
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// pullSecret is a Secret with credentials for a registry, as `kubectl create secret docker-registry` makes it.
func pullSecret(name, registry, user string) string {
	name2, password, _ := strings.Cut(user, ":")
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '%s'\n",
		name, fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, registry, name2, password))
}

func TestAnImageOfAPrivateRegistryIsForPodsWithItsSecret(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		r := serve(t, n, "private.example")
		ref := r.push(t, "team/app:1", "one")
		r.setUser("ann:pa55word")
		n.Start()
		with := func(name string, secrets ...string) *v1.Pod {
			p := pulled(name, ref, v1.PullIfNotPresent)
			for _, s := range secrets {
				p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, v1.LocalObjectReference{Name: s})
			}
			return p
		}
		// The Secret comes after the pod: it waits, says why, and starts when it is there.
		n.Apply(with("first", "creds"))
		waiting(n, "first", "ErrImagePull", "ImagePullBackOff")
		n.Eventually("the missing Secret to be named", func() string {
			out := n.MustAgent("describe", "pod", "first")
			if strings.Contains(out, "FailedToRetrieveImagePullSecret") && strings.Contains(out, "(creds)") {
				return ""
			}
			return out
		})
		n.Write("creds.yaml", pullSecret("creds", r.host, "ann:pa55word"))
		n.WaitRunning("first")
		said(n, "first", "version one")
		// What its credentials brought is not for a pod without them, also after a restart of the agent.
		n.Kill()
		n.Start()
		n.Write("wrong.yaml", pullSecret("wrong", r.host, "eve:guessed"))
		n.Apply(with("without"), with("stranger", "wrong"))
		waiting(n, "without", "ErrImagePull", "ImagePullBackOff")
		waiting(n, "stranger", "ErrImagePull", "ImagePullBackOff")
		// Nor is the registry asked for a pod that has them.
		before := r.asked("/manifests/")
		n.Apply(with("second", "creds"))
		n.WaitRunning("second")
		if now := r.asked("/manifests/"); now > before+4 { // the two that fail may have tried again
			t.Errorf("the registry was asked %d times for an image that is here", now-before)
		}
		// The password stays out of all that people see.
		logs, err := readFile(n.AgentLog())
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{
			"the log": logs, "get": n.MustAgent("get", "pods", "-o", "yaml"), "describe": n.MustAgent("describe", "pod", "first"),
		} {
			if strings.Contains(text, "pa55word") || strings.Contains(text, "YW5uOnBhNTV3b3Jk") {
				t.Errorf("%s shows the password", what)
			}
		}
	})
}
