package manifests

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const idlePod = `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  nodeSelector: {disk: ssd}
  affinity: {nodeAffinity: {}}
  topologySpreadConstraints: []
  schedulerName: default-scheduler
  priority: 0
  preemptionPolicy: PreemptLowerPriority
  enableServiceLinks: true
  serviceAccountName: robot
  tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  - {key: gpu, operator: Exists}
  containers:
  - name: a
    image: x
    volumeMounts:
    - {name: data, mountPath: /data}
    - {name: kube-api-access-x7k2p, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
  volumes:
  - {name: data, emptyDir: {}}
  - name: kube-api-access-x7k2p
    projected: {sources: [{serviceAccountToken: {path: token}}, {configMap: {name: kube-root-ca.crt}}]}
`

func TestAPodOfAnUnknownRuntimeClassIsRefused(t *testing.T) {
	text := []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  runtimeClassName: kata\n  containers: [{name: a, image: x}]\n")
	const at = "pod.yaml:5: spec.runtimeClassName: "
	for name, c := range map[string]struct {
		classes           []string
		refused, warnings string
	}{
		"among others":            {classes: []string{"crun", "kata"}},
		"not among others":        {classes: []string{"crun", "wasm"}, refused: at + `runtimeclass.node.k8s.io "kata" not found (this node has crun, wasm; see --runtime-class)`},
		"none on the node":        {classes: []string{}, refused: at + `runtimeclass.node.k8s.io "kata" not found (this node has none; see --runtime-class)`},
		"nobody knows the node's": {warnings: at + `whether the node has the runtime class "kata" is not known here`},
	} {
		t.Run(name, func(t *testing.T) {
			pods, problems := Decode("pod.yaml", text, Options{RuntimeClasses: c.classes})
			var refused, warned string
			for _, p := range problems {
				refused += p.String()
			}
			for _, p := range pods {
				for _, w := range p.Warnings {
					warned += w.String()
				}
			}
			if len(pods)+len(problems) != 1 || refused != c.refused || warned != c.warnings {
				t.Errorf("%d pods, problems %q, warnings %q", len(pods), refused, warned)
			}
		})
	}
}

func TestWhatIsWithoutEffectIsNamedAndThePodIsGood(t *testing.T) {
	pods, problems := Decode("pod.yaml", []byte(idlePod), Options{NodeName: "box"})
	if len(pods) != 1 || len(problems) > 0 {
		t.Fatalf("%d pods, problems %v", len(pods), problems)
	}
	var got []string
	for _, w := range pods[0].Warnings {
		got = append(got, w.String())
	}
	want := []string{
		"pod.yaml:6: spec.nodeSelector: " + noScheduler,
		"pod.yaml:7: spec.affinity: " + noScheduler,
		"pod.yaml:13: spec.serviceAccountName: " + noAccount,
		`pod.yaml:14: spec.tolerations: without effect for "gpu": this node has no taints`,
		"pod.yaml:25: spec.volumes[1]: left out, with its mounts: " + needsToken,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	spec := pods[0].Object.Spec
	if len(spec.Volumes) != 1 || len(spec.Containers[0].VolumeMounts) != 1 || spec.Volumes[0].Name != "data" {
		t.Errorf("the token's volume is still there: %v", spec.Volumes)
	}
	if r := References(pods[0].Object); len(r) > 0 {
		t.Errorf("it refers to %v", r)
	}
}

func TestAFieldThatWarnsDoesNotHideOneThatIsRefused(t *testing.T) {
	text := strings.Replace(idlePod, "  containers:", "  resourceClaims: [{name: c, resourceClaimName: c}]\n  containers:", 1)
	pods, problems := Decode("pod.yaml", []byte(text), Options{NodeName: "box"})
	if len(pods) != 0 || len(problems) != 1 || problems[0].Field != "spec.resourceClaims" {
		t.Errorf("%d pods, problems %v", len(pods), problems)
	}
}
