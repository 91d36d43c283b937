package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// containerID is the ID of a container as containerd knows it.
func containerID(c v1.ContainerStatus) string {
	return strings.TrimPrefix(c.ContainerID, "containerd://")
}

func containsID(cgroup, id string) bool { return id != "" && strings.Contains(cgroup, id) }

// script returns the pod's script, for a change that is seen from outside.
func script(marker string) string { return "MARK=" + marker + "; " + node.Sleep }

// marks lists the markers of the scripts that run in a pod called name now.
func marks(n *node.Node) map[string]int {
	out := map[string]int{}
	for _, p := range n.Apps() {
		for _, a := range p.Args {
			if i := strings.Index(a, "MARK="); i >= 0 {
				m, _, _ := strings.Cut(a[i+5:], ";")
				out[m]++
			}
		}
	}
	return out
}

func TestAnEditIsOldFullyGoneThenNew(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		slow := func(mark string) *v1.Pod {
			p := node.Pod("app", "MARK="+mark+"; trap 'sleep 0.5; exit 0' TERM; "+node.Sleep)
			return p
		}
		n.Apply(slow("old"))
		before := n.WaitRunning("app")
		n.Apply(slow("new"))
		n.Within(15*time.Second, "the new version to run, never beside the old", func() string {
			m := marks(n)
			if m["old"] > 0 && m["new"] > 0 {
				t.Fatalf("both versions run: %v", m)
			}
			if m["new"] == 0 {
				return fmt.Sprint(m)
			}
			return ""
		})
		after := n.WaitRunning("app")
		if before.UID == after.UID || after.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("the edit gave uid %s after %s with %d restarts, want another uid and none", after.UID, before.UID, after.Status.ContainerStatuses[0].RestartCount)
		}
	})
}

func TestCommentsAndFormattingRestartNothing(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	p := node.Pod("app", node.Sleep)
	text := n.YAML(p)
	n.Write("app.yaml", text)
	uid := n.WaitRunning("app").UID
	n.Settle()
	before := n.Processes()
	for _, s := range []string{"# a comment\n" + text, text + "\n\n---\n", "---\n" + strings.ReplaceAll(text, "kind: Pod", "kind:   \"Pod\" # so"), text} {
		n.Write("app.yaml", s)
		n.Write("b.yaml", n.YAML(node.Pod("b", node.Sleep))) // when b runs, the change before it was seen
		n.WaitRunning("b")
		n.Delete("b")
		n.WaitGone("b")
	}
	if got := n.WaitRunning("app").UID; got != uid {
		t.Errorf("the uid changed from %s to %s", uid, got)
	}
	same(t, "a comment", before, n.Processes())
}

// TestStormsConverge adds, changes and removes pods at random, faster than they can follow, and looks at what is there
// when it is quiet.
func TestStormsConverge(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 1))
		want := map[string]string{}
		for i := range 150 {
			name := fmt.Sprintf("p%d", rnd.IntN(6))
			mark := fmt.Sprintf("%s-%d", name, i)
			_, exists := want[name]
			if exists && rnd.IntN(3) == 0 {
				n.Delete(name)
				delete(want, name)
			} else {
				n.Apply(node.Pod(name, script(mark)))
				want[name] = mark
			}
			if i%40 == 39 {
				n.Kill()
				n.Launch()
			}
			time.Sleep(time.Duration(rnd.IntN(60)) * time.Millisecond)
		}
		n.Eventually("the machine to run exactly the last version of each pod", func() string {
			pods, err := n.List()
			if err != nil {
				return err.Error()
			}
			got := marks(n)
			for name, mark := range want {
				if got[mark] != 1 {
					return fmt.Sprintf("%s of pod %s runs %d times; all: %v", mark, name, got[mark], got)
				}
			}
			if len(got) != len(want) || len(pods) != len(want) {
				return fmt.Sprintf("%d versions run and %d pods are known, want %d: %v", len(got), len(pods), len(want), got)
			}
			return ""
		})
		for name := range want {
			p := n.WaitRunning(name)
			if c := p.Status.ContainerStatuses[0]; c.RestartCount != 0 {
				t.Errorf("pod %s: %s, want no restart", name, node.Describe(p))
			}
		}
	})
}
