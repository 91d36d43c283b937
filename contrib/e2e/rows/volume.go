package rows

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

func volumeRows() []Row {
	const v = "spec.volumes[*]."
	const beside = `
apiVersion: v1
kind: ConfigMap
metadata: {name: @NAME@}
data: {color: blue, shape: round}
---
apiVersion: v1
kind: Secret
metadata: {name: @NAME@}
stringData: {password: s3cret, user: me}
`
	const facts = `[{path: name, fieldRef: {fieldPath: metadata.name}}, {path: memory, mode: 0400, resourceFieldRef: {containerName: app, resource: limits.memory}}]`
	return slices.Concat([]Row{
		{
			Name: "an emptyDir is shared and outlives its containers", Fields: each(v, "name", "emptyDir.medium"),
			Pod:       "{volumes: [{name: v, emptyDir: {}}], initContainers: [{name: writer, command: [sh, -c, echo hello >/v/f], volumeMounts: [{name: v, mountPath: /v}]}]}",
			Container: "volumeMounts: [{name: v, mountPath: /data}]", Script: once("3") + "cat /data/f; stat -c %a /data", Says: "hello\n777",
		},
		{
			Name: "an emptyDir in memory has a size", Fields: each(v+"emptyDir.", "medium", "sizeLimit"),
			Pod: "volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]", Container: "volumeMounts: [{name: v, mountPath: /v}]",
			Script: "dd if=/dev/zero of=/v/f bs=1k count=2000 2>/dev/null || echo full; stat -c %s /v/f", Says: "full\n1048576",
			Look: func(x *X) { x.Contains("the mount", x.Mount("/v"), "tmpfs", "size=1024k") },
		},
		{
			Name: "an emptyDir on disk may name a size", Fields: each(v+"emptyDir.", "sizeLimit"),
			Pod: "volumes: [{name: v, emptyDir: {sizeLimit: 1Gi}}]", Container: "volumeMounts: [{name: v, mountPath: /v}]", Script: "echo x >/v/f; cat /v/f", Says: "x",
		},
		{
			Name: "directories and files of the host", Fields: each(v+"hostPath.", "path", "type"),
			Pod: `volumes: [{name: a, hostPath: {path: @OUT@/made, type: DirectoryOrCreate}}, {name: b, hostPath: {path: @OUT@/made.txt, type: FileOrCreate}},
				{name: c, hostPath: {path: /dev/null, type: CharDevice}}, {name: d, hostPath: {path: /etc, type: Directory}}]`,
			Container: "volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /b}, {name: c, mountPath: /c}, {name: d, mountPath: /d, readOnly: true}]",
			Script:    "echo a >/a/f; echo b >/b; test -c /c && test -e /d/passwd && echo ok", Says: "ok",
			Look: func(x *X) { x.Want("the host's files", x.Read("made/f")+x.Read("made.txt"), "ab") },
		},
		{
			Name: "a ConfigMap and a Secret are files", Fields: each(v, "configMap.name", "configMap.defaultMode", "configMap.optional", "secret.secretName", "secret.defaultMode", "secret.optional"),
			Beside: beside,
			Pod: `volumes: [{name: a, configMap: {name: @NAME@, defaultMode: 0640}}, {name: b, secret: {secretName: @NAME@, defaultMode: 0400}},
				{name: c, configMap: {name: none, optional: true}}, {name: d, secret: {secretName: none, optional: true}}]`,
			Container: "volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /b}, {name: c, mountPath: /c}, {name: d, mountPath: /d}]",
			Script:    "cat /a/color; echo; cat /b/password; echo; stat -Lc %a /a/color /b/password; ls /c /d | wc -w", Says: "blue\ns3cret\n640\n400\n2",
			Look: func(x *X) { x.Contains("the mount of the Secret", x.Mount("/b"), "tmpfs") },
		},
		{
			Name: "keys become files at their paths", Fields: slices.Concat(each(v+"configMap.items[*].", "key", "path", "mode"), each(v+"secret.items[*].", "key", "path", "mode")),
			Beside: beside,
			Pod: `volumes: [{name: a, configMap: {name: @NAME@, items: [{key: color, path: deep/c, mode: 0600}]}},
				{name: b, secret: {secretName: @NAME@, items: [{key: password, path: deep/p, mode: 0440}]}}]`,
			Container: "volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /b}]",
			Script:    "cat /a/deep/c; echo; cat /b/deep/p; echo; stat -Lc %a /a/deep/c /b/deep/p; ls /a /b | grep -c -e shape -e user", Says: "blue\ns3cret\n600\n440\n0",
		},
		{
			Name: "facts of the pod are files", Fields: append(each(v+"downwardAPI.items[*].", "path", "mode", "fieldRef", "resourceFieldRef"), v+"downwardAPI.defaultMode"),
			Pod: "volumes: [{name: a, downwardAPI: {defaultMode: 0444, items: " + facts + "}}]", Container: "{resources: {limits: {memory: 32Mi}}, volumeMounts: [{name: a, mountPath: /a}]}",
			Script: "cat /a/name; echo; cat /a/memory; echo; stat -Lc %a /a/name /a/memory", Says: "@NAME@\n33554432\n444\n400",
		},
		{
			Name: "a projected volume has all in one", Fields: slices.Concat(
				each(v+"projected.", "defaultMode", "sources[*].configMap.name", "sources[*].configMap.optional", "sources[*].secret.name", "sources[*].secret.optional"),
				each(v+"projected.sources[*].configMap.items[*].", "key", "path", "mode"), each(v+"projected.sources[*].secret.items[*].", "key", "path", "mode"),
				each(v+"projected.sources[*].downwardAPI.items[*].", "path", "mode", "fieldRef", "resourceFieldRef")),
			Beside: beside,
			Pod: `volumes: [{name: a, projected: {defaultMode: 0440, sources: [{configMap: {name: @NAME@, items: [{key: color, path: c, mode: 0400}]}}, {configMap: {name: none, optional: true}},
				{secret: {name: @NAME@, items: [{key: password, path: p, mode: 0404}]}}, {secret: {name: none, optional: true}}, {secret: {name: @NAME@, items: [{key: user, path: u}]}}, {downwardAPI: {items: ` + facts + `}}]}}]`,
			Container: "{resources: {limits: {memory: 32Mi}}, volumeMounts: [{name: a, mountPath: /a}]}",
			Script:    "for f in c p u name memory; do echo $(cat /a/$f) $(stat -Lc %a /a/$f); done", Says: "blue 400\ns3cret 404\nme 440\n@NAME@ 440\n33554432 400",
		},
		{
			Name: "an image is a volume", Fields: each(v+"image.", "reference", "pullPolicy"),
			Pod: "volumes: [{name: v, image: {reference: edgepod.dev/busybox:1, pullPolicy: Never}}]", Container: "volumeMounts: [{name: v, mountPath: /img}]",
			Script: "test -f /img/bin/busybox && echo here; touch /img/x 2>/dev/null || echo read-only", Says: "here\nread-only",
		},
		{
			// No machine that tests this is sure to have a server of NFS, or a kernel with its client.
			Name: "an NFS server that is not there keeps its pod alone waiting", Fields: each(v+"nfs.", "server", "path", "readOnly"),
			Pod: "volumes: [{name: v, nfs: {server: 127.0.0.1, path: /none, readOnly: true}}]", Container: "volumeMounts: [{name: v, mountPath: /v}]", Script: "echo ran",
			Until: func(p *v1.Pod) bool { return p.Status.Phase == v1.PodPending },
			Look: func(x *X) {
				x.Eventually("a word about it", func() string {
					out := x.agent("", "describe", "pod", x.Name)
					if strings.Contains(out, `volume "v": asking the NFS server 127.0.0.1`) {
						return ""
					}
					return out
				})
				if x.exists("said") {
					x.Errorf("the container has run without its volume")
				}
			},
		},
	}, changeRows())
}

// changeRows are files that follow their ConfigMap.
func changeRows() []Row {
	const v = "spec.volumes[*]."
	doc := func(x *X, color string) string {
		return strings.ReplaceAll(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: @NAME@}\ndata: {color: %s}\n", color), "@NAME@", x.Name)
	}
	return []Row{{
		Name: "files follow a change without a restart", Fields: each(v, "configMap.name"),
		Before:    func(x *X) { x.node.Write(x.Name+"-map.yaml", doc(x, "blue")) },
		Pod:       "volumes: [{name: a, configMap: {name: @NAME@}}]",
		Container: "volumeMounts: [{name: a, mountPath: /a}]", Script: "cat /a/color", Says: "blue",
		Look: func(x *X) {
			color := "green"
			if x.Again {
				color = "red"
			}
			x.node.Write(x.Name+"-map.yaml", doc(x, color))
			x.Eventually("the change in the container", func() string { return differ(x.Exec("cat /a/color"), color) })
		},
	}}
}
