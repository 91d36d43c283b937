package manifests

import (
	"strings"
)

// nextFields are rows that are decoded and made by podmgr/volume already and wait for podmgr/containerd to use them. Move
// each into Fields when its effect can be seen in a container. Until then they are refused, so that nothing is accepted
// and ignored.
func nextFields() []Field {
	return []Field{
		{Path: "spec.volumes[*].nfs.server", Since: next, Note: "NFS 4, mounted by the kernel alone"},
		{Path: "spec.volumes[*].nfs.path", Since: next},
		{Path: "spec.volumes[*].nfs.readOnly", Since: next},
	}
}

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
		{Path: v + "emptyDir.sizeLimit", Since: first, Note: "the size of medium Memory; accepted on disk, not enforced yet"},
		{Path: v + "projected.defaultMode", Since: first},
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
