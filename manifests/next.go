package manifests

import (
	"slices"
	"strings"
)

// nextFields are rows that are decoded, bound and made by podmgr/volume already and wait for podmgr/containerd to use
// them. Move each into Fields when its effect can be seen in a container; a row of a path that Fields has replaces that
// one. Until then they are refused, so that nothing is accepted and ignored.
func nextFields() []Field {
	return slices.Concat(nextEnvironment(), nextVolumes(), nextMounts())
}

func nextEnvironment() []Field {
	const from, env = "spec.containers[*].envFrom[*].", "spec.containers[*].env[*].valueFrom."
	return []Field{
		{Path: from + "prefix", Since: next},
		{Path: from + "configMapRef", Since: next},
		{Path: from + "secretRef", Since: next},
		{Path: env + "configMapKeyRef", Since: next},
		{Path: env + "secretKeyRef", Since: next},
		{Path: env + "fieldRef", Since: next},
		{Path: env + "resourceFieldRef", Since: next},
		{Path: env + "fileKeyRef", Since: next},
		{Path: "spec.imagePullSecrets", Since: next, Note: "one that is missing is left out, as with the kubelet"},
	}
}

const next = "0.2"

func nextVolumes() []Field {
	const v = "spec.volumes[*]."
	rows := []Field{
		{Path: v + "emptyDir.medium", Since: next, Note: "on disk, Memory, HugePages, HugePages-<size>", check: checkMedium},
		{Path: v + "emptyDir.sizeLimit", Since: next, Note: "the size of medium Memory; accepted on disk, not enforced yet"},
		{Path: v + "nfs.server", Since: next, Note: "NFS 4, mounted by the kernel alone"},
		{Path: v + "nfs.path", Since: next},
		{Path: v + "nfs.readOnly", Since: next},
		{Path: v + "projected.defaultMode", Since: next},
	}
	for _, source := range []string{"configMap.name", "secret.secretName"} {
		kind, _, _ := strings.Cut(source, ".")
		rows = append(rows, Field{Path: v + source, Since: next}, Field{Path: v + kind + ".defaultMode", Since: next})
		rows = append(rows, nextItems(v+kind)...)
		rows = append(rows, Field{Path: v + "projected.sources[*]." + kind + ".name", Since: next})
		rows = append(rows, nextItems(v+"projected.sources[*]."+kind)...)
	}
	rows = append(rows, Field{Path: v + "downwardAPI.defaultMode", Since: next})
	for _, at := range []string{v + "downwardAPI.items[*].", v + "projected.sources[*].downwardAPI.items[*]."} {
		for _, name := range []string{"path", "mode", "fieldRef", "resourceFieldRef"} {
			rows = append(rows, Field{Path: at + name, Since: next})
		}
	}
	return rows
}

// nextItems leaves out the user of a file, which Kubernetes 1.37 has behind a gate that is off.
func nextItems(at string) []Field {
	return []Field{
		{Path: at + ".optional", Since: next},
		{Path: at + ".items[*].key", Since: next},
		{Path: at + ".items[*].path", Since: next},
		{Path: at + ".items[*].mode", Since: next},
	}
}

func nextMounts() []Field {
	const m = "spec.containers[*].volumeMounts[*]."
	return []Field{
		{Path: m + "subPath", Since: next, Note: "links are followed inside the volume only"},
		{Path: m + "subPathExpr", Since: next},
		{Path: m + "mountPropagation", Since: next},
		{Path: m + "recursiveReadOnly", Since: next},
		{Path: "spec.securityContext.fsGroup", Since: next, Note: "not for hostPath and nfs, as with the kubelet"},
		{
			Path: "spec.securityContext.fsGroupChangePolicy", Since: next,
			Note: "both are one here: volumes of the kinds it is for are new with their pod",
		},
	}
}

func checkMedium(v any) string {
	s, _ := v.(string)
	if strings.HasPrefix(s, "HugePages-") {
		return ""
	}
	return oneOf("", "Memory", "HugePages")(v)
}
