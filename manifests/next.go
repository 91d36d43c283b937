package manifests

import (
	"strings"
)

// environmentFields are those of a container at c, such as "spec.containers[*].".
func environmentFields(c string) []Field {
	from, env := c+"envFrom[*].", c+"env[*].valueFrom."
	return []Field{
		{Path: from + "prefix", Since: first},
		{Path: from + "configMapRef", Since: first},
		{Path: from + "secretRef", Since: first},
		{Path: env + "configMapKeyRef", Since: first},
		{Path: env + "secretKeyRef", Since: first},
		{Path: env + "fieldRef", Since: first},
		{Path: env + "resourceFieldRef", Since: first},
		{Path: env + "fileKeyRef", Since: first},
	}
}

const next = "0.2"

func configVolumeFields() []Field {
	const v = "spec.volumes[*]."
	rows := []Field{
		{Path: v + "emptyDir.medium", Since: first, Note: "on disk, Memory, HugePages, HugePages-<size>", check: checkMedium},
		{Path: v + "emptyDir.sizeLimit", Since: first, Note: "the size of medium Memory; on disk the pod is evicted, and one of a file begins anew"},
		{Path: v + "projected.defaultMode", Since: first},
		{Path: v + "image.reference", Since: next, Note: "an image's root filesystem, read-only and without programs"},
		{Path: v + "image.pullPolicy", Since: next},
		{Path: v + "nfs.server", Since: next, Note: "NFS 4, where the node's kernel has it"},
		{Path: v + "nfs.path", Since: next},
		{Path: v + "nfs.readOnly", Since: next},
	}
	for _, source := range []string{"configMap.name", "secret.secretName"} {
		kind, _, _ := strings.Cut(source, ".")
		rows = append(rows, Field{Path: v + source, Since: first}, Field{Path: v + kind + ".defaultMode", Since: first})
		rows = append(rows, itemFields(v+kind)...)
		rows = append(rows, Field{Path: v + "projected.sources[*]." + kind + ".name", Since: first})
		rows = append(rows, itemFields(v+"projected.sources[*]."+kind)...)
	}
	rows = append(rows, Field{Path: v + "downwardAPI.defaultMode", Since: first})
	for _, at := range []string{v + "downwardAPI.items[*].", v + "projected.sources[*].downwardAPI.items[*]."} {
		for _, name := range []string{"path", "mode", "fieldRef", "resourceFieldRef"} {
			rows = append(rows, Field{Path: at + name, Since: first})
		}
	}
	return rows
}

// itemFields leaves out the user of a file, which Kubernetes 1.37 has behind a gate that is off.
func itemFields(at string) []Field {
	return []Field{
		{Path: at + ".optional", Since: first},
		{Path: at + ".items[*].key", Since: first},
		{Path: at + ".items[*].path", Since: first},
		{Path: at + ".items[*].mode", Since: first},
	}
}

// mountFields are those of a container at c.
func mountFields(c string) []Field {
	m := c + "volumeMounts[*]."
	return []Field{
		{Path: m + "subPath", Since: first, Note: "links are followed inside the volume only"},
		{Path: m + "subPathExpr", Since: first},
		{Path: m + "mountPropagation", Since: first},
		{Path: m + "recursiveReadOnly", Since: next},
	}
}

func checkMedium(v any) string {
	s, _ := v.(string)
	if strings.HasPrefix(s, "HugePages-") {
		return ""
	}
	return oneOf("", "Memory", "HugePages")(v)
}
