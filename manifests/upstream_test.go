package manifests_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edgepod.dev/agent/manifests"
)

// upstreamPods are the files of Kubernetes' tests that hold pods, ConfigMaps and Secrets: how many of them run here, and why
// a pod is refused. Those marked as templates have {{.Image}} and the like where an image is filled in.
var upstreamPods = map[string]string{
	"e2e/testing-manifests/kubectl/agnhost-primary-pod.yaml":                 "1 pod",
	"e2e/testing-manifests/kubectl/busybox-pod.yaml.in":                      "1 pod, template",
	"e2e/testing-manifests/kubectl/pause-pod.yaml.in":                        "1 pod, template",
	"e2e/testing-manifests/kubectl/pod-with-readiness-probe.yaml.in":         "1 pod, template",
	"e2e/testing-manifests/pod":                                              "1 pod",
	"e2e/testing-manifests/statefulset/mysql-upgrade/configmap.yaml":         "1 config",
	"fixtures/doc-yaml/admin/high-availability/etcd.yaml":                    "1 pod",
	"fixtures/doc-yaml/admin/high-availability/kube-apiserver.yaml":          "1 pod",
	"fixtures/doc-yaml/admin/high-availability/kube-controller-manager.yaml": "1 pod",
	// It mounts a volume that it does not have: an API server adds the token's when it admits the pod.
	"fixtures/doc-yaml/admin/high-availability/kube-scheduler.yaml": `refused: spec.containers[0].volumeMounts[1].name: Not found: "default-token-s8ejd"`,
	// Invalid only where a LimitRange says so.
	"fixtures/doc-yaml/admin/limitrange/invalid-pod.yaml":         "1 pod",
	"fixtures/doc-yaml/admin/limitrange/valid-pod.yaml":           "1 pod",
	"fixtures/doc-yaml/user-guide/configmap/configmap.yaml":       "1 config",
	"fixtures/doc-yaml/user-guide/downward-api/dapi-pod.yaml.in":  "1 pod, template",
	"fixtures/doc-yaml/user-guide/liveness/exec-liveness.yaml.in": "1 pod, template",
	"fixtures/doc-yaml/user-guide/liveness/http-liveness.yaml.in": "1 pod, template",
	"fixtures/doc-yaml/user-guide/multi-pod.yaml":                 "2 pods",
	"fixtures/doc-yaml/user-guide/pod.yaml":                       "1 pod",
	"fixtures/doc-yaml/user-guide/secrets/secret-env-pod.yaml":    "1 pod",
	"fixtures/doc-yaml/user-guide/secrets/secret-pod.yaml.in":     "1 pod, template",
	"fixtures/doc-yaml/user-guide/secrets/secret.yaml":            "1 config",
	"fixtures/pkg/kubectl/cmd/apply/cm.yaml":                      "2 configs",
	"fixtures/pkg/kubectl/cmd/auth/rbac-resource-plus.yaml":       "1 pod",
	"fixtures/pkg/kubectl/cmd/patch/validPod.yaml":                "1 pod",
}

// upstreamKinds are the other kinds of those files, each refused by its name.
var upstreamKinds = []string{
	"CSIDriver", "Cluster", "ClusterRole", "ClusterRoleBinding", "CronJob", "CustomResourceDefinition", "DaemonSet", "Deployment", "EncryptionConfiguration",
	"Ingress", "Job", "LimitRange", "Namespace", "PersistentVolume", "PersistentVolumeClaim", "PodDisruptionBudget", "PodTemplate", "ReplicaSet",
	"ReplicationController", "ResourceQuota", "Role", "RoleBinding", "Service", "ServiceAccount", "StatefulSet", "StorageClass", "SubjectAccessReview",
	"TokenReview", "VolumeSnapshotClass", "Widget",
}

var (
	placeholder = regexp.MustCompile(`\{\{.*?\}\}`)
	otherKind   = regexp.MustCompile(`^kind "(\w+)" is not supported`)
)

// TestThePodsOfKubernetesOwnTestsValidate holds that every pod manifest of Kubernetes' end-to-end tests and fixtures is taken,
// or is refused for the reason that the table gives.
func TestThePodsOfKubernetesOwnTestsValidate(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatalf("looking for the module k8s.io/kubernetes: %v", err)
	}
	top := filepath.Join(strings.TrimSpace(string(out)), "test")
	got, kinds, files := map[string]string{}, map[string]bool{}, 0
	for _, dir := range []string{"e2e/testing-manifests", "fixtures"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(data), "apiVersion") {
				return err
			}
			name, _ := filepath.Rel(top, path)
			if ext := filepath.Ext(name); ext == ".go" || ext == ".md" || ext == ".sh" {
				return nil
			}
			files++
			if what := upstream(data, kinds); what != "" {
				got[name] = what
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(upstreamPods, got); diff != "" {
		t.Errorf("the files with pods (-want +got):\n%s", diff)
	}
	var others []string
	for k := range kinds {
		others = append(others, k)
	}
	slices.Sort(others)
	if diff := cmp.Diff(upstreamKinds, others); diff != "" {
		t.Errorf("the kinds of the other files (-want +got):\n%s", diff)
	}
	if files < 130 {
		t.Errorf("only %d files were found below %s", files, top)
	}
}

// upstream says what becomes of a file, in the words of the table, and notes its other kinds.
func upstream(data []byte, kinds map[string]bool) string {
	docs := manifests.DecodeAll("file.yaml", placeholder.ReplaceAll(data, []byte("registry.test/image:1")), manifests.Options{NodeName: "box"})
	var words []string
	for _, p := range docs.Problems {
		if m := otherKind.FindStringSubmatch(p.Message); m != nil {
			kinds[m[1]] = true
		} else if p.Field != "apiVersion" && p.Field != "kind" {
			words = append(words, "refused: "+p.Field+": "+p.Message)
		}
	}
	count := func(n int, noun string) {
		switch {
		case n == 1:
			words = append(words, "1 "+noun)
		case n > 1:
			words = append(words, fmt.Sprintf("%d %ss", n, noun))
		}
	}
	count(len(docs.Pods), "pod")
	count(len(docs.Configs), "config")
	if len(words) > 0 && placeholder.Match(data) {
		words = append(words, "template")
	}
	return strings.Join(words, ", ")
}
