package rows

import (
	"os"
	"path/filepath"
	"strings"
)

func metaRows() []Row {
	const info = `volumes: [{name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: annotations, fieldRef: {fieldPath: metadata.annotations}}]}}]`
	return []Row{
		{
			Name:   "a pod of the image runs under its name",
			Fields: each("", "apiVersion", "kind", "metadata.name", Both+"name", Both+"image"),
			Script: "hostname; test -x /bin/busybox && echo busybox", Says: "@NAME@\nbusybox",
			Look: func(x *X) { x.Want("the image's PATH", x.Exec("echo $PATH"), "/bin") },
		},
		{
			Name: "a namespace need not be created", Fields: each("", "metadata.namespace"),
			Meta: "namespace: elsewhere", Container: "env: [{name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}]",
			Script: "echo $NS", Says: "elsewhere",
			Look: func(x *X) {
				if _, err := os.Stat(filepath.Join(x.Node().Logs(), "elsewhere_"+x.Name+"_"+string(x.Pod().UID), "app", "0.log")); err != nil {
					x.Errorf("the log: %v", err)
				}
			},
		},
		{
			Name: "labels and annotations can be read", Fields: each("metadata.", "labels", "annotations"),
			Meta: "{labels: {app: web, tier: front}, annotations: {why: \"two\\nlines\"}}", Pod: info, Container: "volumeMounts: [{name: info, mountPath: /info}]",
			Script: "cat /info/labels; echo; grep ^why /info/annotations", Says: "app=\"web\"\ntier=\"front\"\nwhy=\"two\\nlines\"",
		},
		{
			Name: "what only a cluster needs is let be", Fields: append(each("metadata.", "generateName", "ownerReferences"), each("spec.", "nodeName", "tolerations", "priority",
				"priorityClassName", "preemptionPolicy", "schedulerName", "enableServiceLinks", "automountServiceAccountToken", "serviceAccountName", "serviceAccount", "nodeSelector", "affinity", "topologySpreadConstraints")...),
			Meta: "{generateName: what-, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: u, controller: true}]}",
			Pod: `{nodeName: e2e, tolerations: [{operator: Exists}], priority: 7, priorityClassName: seven, preemptionPolicy: Never, schedulerName: other,
				enableServiceLinks: true, automountServiceAccountToken: false, serviceAccountName: robot, serviceAccount: robot,
				nodeSelector: {disk: ssd}, affinity: {nodeAffinity: {}}, topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}`,
			Script: "ls /var/run/secrets 2>/dev/null; env | grep -c _SERVICE_", Says: "0",
			Look: func(x *X) { // and nothing of it in silence
				if x.Again {
					return // the events of so many pods starting anew are more than are kept
				}
				x.Eventually("a word about each", func() string {
					said := x.agent("", "describe", "pod", x.Name)
					for _, f := range []string{
						"metadata.ownerReferences", "spec.tolerations", "spec.priority", "spec.priorityClassName", "spec.preemptionPolicy", "spec.schedulerName",
						"spec.serviceAccountName", "spec.nodeSelector", "spec.affinity", "spec.topologySpreadConstraints",
					} {
						if !strings.Contains(said, f+": ") {
							return f + " is not in\n" + said
						}
					}
					return ""
				})
			},
		},
	}
}
