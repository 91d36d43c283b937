package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// TestNoLineIsLostOverKillsOfTheAgent: a container prints numbered lines on both streams while the agent is killed again and
// again, at its start too; another one ends while there is no agent.
func TestNoLineIsLostOverKillsOfTheAgent(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	brief := node.Pod("brief", "while ! [ -e /go/on ]; do sleep 0.02; done; i=0; while [ $i -lt 2000 ]; do echo last $i; i=$((i+1)); done; printf 'no newline'")
	brief.Spec.RestartPolicy = v1.RestartPolicyNever
	gate := filepath.Join(n.Dir, "gate")
	if err := os.Mkdir(gate, 0o755); err != nil {
		t.Fatal(err)
	}
	brief.Spec.Volumes = append(brief.Spec.Volumes, v1.Volume{Name: "gate", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: gate}}})
	brief.Spec.Containers[0].VolumeMounts = append(brief.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: "gate", MountPath: "/go"})
	n.Apply(brief, node.Pod("count", `i=0; while ! [ -e /stop ]; do
			echo "out $i"; echo "err $i" >&2; i=$((i+1)); [ $((i % 40)) = 0 ] && sleep 0.01
		done; echo "end $i"; `+node.Sleep))
	n.WaitRunning("brief", "count")
	n.Stop()
	n.Start()
	if out := n.MustAgent("get", "events"); !strings.Contains(out, "pod/count") || !strings.Contains(out, "Started") {
		t.Errorf("events do not outlive the agent:\n%s", out)
	}
	for range 50 {
		n.Kill()
		if rand.IntN(3) == 0 { // at any moment of its start
			n.Launch()
			time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
			continue
		}
		n.Start()
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	}
	n.Kill()
	ends := node.Of(n.Apps(), mustUID(t, n, "brief"))
	if err := os.WriteFile(filepath.Join(gate, "on"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.Eventually("the container to end without an agent", func() string {
		for _, p := range ends {
			if fileExists(fmt.Sprintf("/proc/%d/root/go/on", p.PID)) {
				return p.String()
			}
		}
		return ""
	})
	n.Start()
	n.MustAgent("exec", "count", "--", "touch", "/stop")
	said(n, "count", "end ")

	next, end := map[string]int{}, -1
	for line := range strings.Lines(n.MustAgent("logs", "count")) {
		var name string
		var i int
		if _, err := fmt.Sscanf(line, "%s %d", &name, &i); err != nil {
			t.Fatalf("a line is torn: %q", line)
		}
		if name == "end" {
			end = i
			continue
		}
		if i != next[name] {
			t.Fatalf("line %d of %s comes where %d should", i, name, next[name])
		}
		next[name]++
	}
	if next["out"] != end || next["err"] != end || end < 1000 {
		t.Errorf("%v lines came, the container printed %d of each", next, end)
	}
	n.Wait("brief", "succeeded", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodSucceeded })
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "last %d\n", i)
	}
	if got := strings.TrimSuffix(n.MustAgent("logs", "brief"), "\n"); got != want.String()+"no newline" {
		t.Errorf("of a container that ended without an agent %d bytes came, want %d: …%q", len(got), want.Len()+len("no newline"), got[max(0, len(got)-40):])
	}
}

// mustUID is the UID of a pod that has a log directory; it needs no agent.
func mustUID(t *testing.T, n *node.Node, name string) (uid string) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(n.Logs(), "default_"+name+"_*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("%d log directories of pod %s: %v", len(dirs), name, err)
	}
	return dirs[0][strings.LastIndex(dirs[0], "_")+1:]
}
