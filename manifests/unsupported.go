package manifests

import (
	"encoding/json"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Unsupported lists the fields of a pod of an API server that have no effect on this node. What concerns the scheduler,
// the controllers or the source that binds the pod is not among them.
func Unsupported(p *v1.Pod) []string {
	doc := v1.Pod{Spec: p.Spec}
	doc.Annotations = p.Annotations
	raw, err := json.Marshal(&doc)
	if err != nil {
		return nil
	}
	var generic map[string]any
	if err := json.Unmarshal(raw, &generic); err != nil {
		return nil
	}
	delete(generic, "status")
	full, _ := prune(generic, false).(map[string]any)
	var paths []string
	for _, f := range checkSupport(full) {
		if !slices.ContainsFunc(ofCluster(), func(prefix string) bool { return strings.HasPrefix(f.path, prefix) }) &&
			!ofSource(f.path) {
			paths = append(paths, f.path)
		}
	}
	return paths
}

// ofCluster are the fields that have their effect before a pod comes to a node, or in the source.
func ofCluster() []string {
	return []string{
		"metadata.creationTimestamp", "spec.nodeName", "spec.nodeSelector", "spec.affinity", "spec.topologySpreadConstraints",
		"spec.tolerations", "spec.priority", "spec.preemptionPolicy", "spec.schedulerName", "spec.schedulingGates",
		"spec.schedulingGroup", "spec.serviceAccount", "spec.automountServiceAccountToken", "spec.runtimeClassName",
		"spec.overhead", "spec.readinessGates", "spec.os", "spec.imagePullSecrets", "spec.enableServiceLinks",
		"spec.ephemeralContainers",
	}
}

// ofSource says whether a path is that of a volume that the source resolves, or of one that cannot be made, which keeps
// the containers waiting.
func ofSource(path string) bool {
	if !strings.HasPrefix(path, "spec.volumes[") {
		return false
	}
	kind := path[strings.LastIndex(path, ".")+1:]
	return kind == "serviceAccountToken" || kind == "clusterTrustBundle" || kind == "podCertificate" ||
		slices.ContainsFunc(RefusedVolumes(), func(r RefusedVolume) bool { return r.Kind == kind })
}
