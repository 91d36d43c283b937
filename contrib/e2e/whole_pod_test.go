package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// wholePod is a pod as clusters have them, with its ConfigMap and Secret beside it; COLOR and OUT are filled in.
const wholePod = `
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {greeting: hello, color: COLOR}
---
apiVersion: v1
kind: Secret
metadata: {name: sec}
stringData: {password: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: whole, labels: {app: whole}}
spec:
  securityContext: {fsGroup: 1234}
  initContainers:
  - name: init
    image: edgepod.dev/busybox:1
    command: [sh, -c, "echo from-init > /work/init"]
    volumeMounts: [{name: work, mountPath: /work}]
  - name: side
    image: edgepod.dev/busybox:1
    restartPolicy: Always
    command: [sh, -c, "trap 'echo side >> /out/order; exit 0' TERM; mkdir -p /www; echo ok > /www/i; httpd -p 8081 -h /www; sleep 10000 & wait"]
    startupProbe: {httpGet: {port: 8081, path: /i}, periodSeconds: 1}
    volumeMounts: [{name: out, mountPath: /out}]
  containers:
  - name: main
    image: edgepod.dev/busybox:1
    command: [sh, -c, "trap 'echo main >> /out/order; exit 0' TERM; { env | sort; cat /work/init /sub /info/labels; echo; stat -c '%a %u %g' /sec/..data/password; grep ' /sec ' /proc/mounts; grep ' /mem ' /proc/mounts; id -G; } > /out/said; sleep 10000 & wait"]
    env:
    - {name: COLOR_IS, valueFrom: {configMapKeyRef: {name: conf, key: color}}}
    - {name: PASS, valueFrom: {secretKeyRef: {name: sec, key: password}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: BOTH, value: "$(COLOR_IS)-$(IP)"}
    envFrom: [{prefix: C_, configMapRef: {name: conf}}]
    startupProbe: {exec: {command: [test, -e, /out/said]}, periodSeconds: 1}
    readinessProbe: {exec: {command: [test, -e, /out/ready]}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {exec: {command: [test, "!", -e, /out/dead]}, periodSeconds: 1, failureThreshold: 1}
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo post > /out/post"]}}
      preStop: {exec: {command: [sh, -c, "echo hook >> /out/order"]}}
    volumeMounts:
    - {name: conf, mountPath: /conf}
    - {name: sec, mountPath: /sec}
    - {name: info, mountPath: /info}
    - {name: work, mountPath: /work}
    - {name: conf, mountPath: /sub, subPath: greeting}
    - {name: mem, mountPath: /mem}
    - {name: out, mountPath: /out}
  volumes:
  - {name: conf, configMap: {name: conf}}
  - {name: sec, secret: {secretName: sec, defaultMode: 0400}}
  - {name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: work, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: out, hostPath: {path: OUT}}
`

// TestAPodFromAClusterRunsWithItsConfigBesideIt takes one pod through what the main job does not have: ConfigMap and
// Secret, init container and sidecar, probes, hooks, files that change under it.
func TestAPodFromAClusterRunsWithItsConfigBesideIt(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		out := filepath.Join(n.Dir, "out")
		if err := os.MkdirAll(out, 0o777); err != nil {
			t.Fatal(err)
		}
		manifest := func(color string) string {
			return strings.NewReplacer("COLOR}", color+"}", "OUT}", out+"}").Replace(wholePod)
		}
		read := func(name string) string {
			b, _ := os.ReadFile(filepath.Join(out, name))
			return string(b)
		}
		touch := func(name string) {
			if err := os.WriteFile(filepath.Join(out, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.Write("whole.yaml", manifest("blue"))
		started := n.Wait("whole", "started and not ready", func(p *v1.Pod) bool {
			if p == nil {
				return false
			}
			c := node.Container(p, "main")
			return c.Started != nil && *c.Started && !c.Ready
		})
		said := read("said")
		for _, want := range []string{
			"COLOR_IS=blue", "PASS=s3cret", "IP=" + started.Status.PodIP, "BOTH=blue-" + started.Status.PodIP, "C_greeting=hello",
			"from-init\nhello", `app="whole"`, "tmpfs /sec tmpfs ro", "tmpfs /mem tmpfs rw", "size=1024k", "1234",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("the container did not see %q; it said\n%s", want, said)
			}
		}
		if read("post") != "post\n" {
			t.Error("the postStart hook did not run")
		}
		touch("ready")
		n.WaitRunning("whole")
		before := n.Processes()
		n.Write("whole.yaml", manifest("green"))
		n.Within(5*time.Second, "the changed ConfigMap to be seen", func() string {
			stdout, stderr, _ := n.Agent("exec", "whole", "-c", "main", "--", "cat", "/conf/color")
			if stdout == "green" {
				return ""
			}
			return stdout + stderr
		})
		same(t, "a changed ConfigMap", before, n.Processes())
		n.Kill()
		n.Start()
		n.WaitRunning("whole")
		same(t, "a restart of the agent", before, n.Processes())
		touch("dead")
		n.Wait("whole", "restarted by its liveness probe", func(p *v1.Pod) bool {
			return p != nil && node.Container(p, "main").RestartCount >= 1
		})
		if err := os.Remove(filepath.Join(out, "dead")); err != nil {
			t.Fatal(err)
		}
		n.Wait("whole", "running again", func(p *v1.Pod) bool { return node.Ready(p) })
		if err := os.Remove(filepath.Join(out, "order")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(n.Manifests(), "whole.yaml")); err != nil {
			t.Fatal(err)
		}
		n.WaitGone("whole")
		if got, want := read("order"), "hook\nmain\nside\n"; got != want {
			t.Errorf("the end went %q, want %q", got, want)
		}
	})
}
