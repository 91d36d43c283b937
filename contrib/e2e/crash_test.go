package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// facts is what a restart of the agent must not change in a pod's status.
func facts(n *node.Node, names []string) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		p := n.WaitRunning(name)
		c := p.Status.ContainerStatuses[0]
		out[name] = fmt.Sprintf("uid %s ip %s start %v container %s started %v restarts %d image %s", p.UID, p.Status.PodIP,
			p.Status.StartTime.UTC(), c.ContainerID, c.State.Running.StartedAt.UTC(), c.RestartCount, c.ImageID)
	}
	return out
}

func apply(n *node.Node, prefix string, count int) []string {
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("%s%02d", prefix, i))
		n.Apply(node.Pod(names[i], node.Sleep))
	}
	n.WaitRunning(names...)
	n.Settle()
	return names
}

// TestFiftyKillsOverTwentyPods is the promise "the agent may die at any instruction".
func TestFiftyKillsOverTwentyPods(t *testing.T) {
	aloneOnEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		names := apply(n, "steady", 20)
		n.Settle()
		before, procs := facts(n, names), n.Processes()
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 2))
		// Beside the steady pods others come, change and go, so that the agent dies in the middle of something.
		churn := map[string]bool{}
		for i := range 50 {
			name := fmt.Sprintf("churn%d", rnd.IntN(3))
			if churn[name] && rnd.IntN(2) == 0 {
				n.Delete(name)
			} else {
				n.Apply(node.Pod(name, script(fmt.Sprint(i))))
			}
			churn[name] = fileExists(n.Manifests() + "/" + name + ".yaml")
			time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
			n.Kill()
			n.Launch()
		}
		n.Stop()
		n.Start()
		if diff := cmp.Diff(before, facts(n, names)); diff != "" {
			t.Errorf("50 kills changed the steady pods (-before +after):\n%s", diff)
		}
		for name := range churn {
			if churn[name] {
				n.WaitRunning(name)
				n.Delete(name)
			}
			n.WaitGone(name)
		}
		n.Eventually("only the steady pods' processes to be left", func() string {
			return cmp.Diff(node.Identity(procs), node.Identity(n.Processes()))
		})
		n.Eventually("20 shims to serve 20 pods", func() string {
			if shims := n.Shims(); len(shims) != 20 {
				return fmt.Sprint(len(shims), shims)
			}
			return ""
		})
	})
}

func TestExitsWhileTheAgentIsAwayAreAccountedFor(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		p := node.Pod("once", "sleep 1; exit 5")
		p.Spec.RestartPolicy = v1.RestartPolicyNever
		q := node.Pod("again", "sleep 1; exit 6")
		n.Apply(p, q)
		n.WaitRunning("once", "again")
		n.Kill()
		time.Sleep(1500 * time.Millisecond)
		n.Start()
		got := n.Wait("once", "failed", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodFailed })
		if term := node.Container(got, "app").State.Terminated; term == nil || term.ExitCode != 5 || term.FinishedAt.Sub(term.StartedAt.Time) > 3*time.Second {
			t.Errorf("the pod ended with %+v, want exit code 5 after about a second", term)
		}
		got = n.Wait("again", "restarted", func(p *v1.Pod) bool { return p != nil && node.Container(p, "app").RestartCount == 1 })
		if term := node.Container(got, "app").LastTerminationState.Terminated; term == nil || term.ExitCode != 6 {
			t.Errorf("the last state is %+v, want exit code 6", term)
		}
	})
}

func TestTermEndsTheAgentAndNotThePods(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		names := apply(n, "p", 3)
		n.Settle()
		before, procs := facts(n, names), n.Processes()
		n.Stop()
		same(t, "the agent's SIGTERM", procs, n.Processes())
		n.Start()
		if diff := cmp.Diff(before, facts(n, names)); diff != "" {
			t.Errorf("a restart changed the pods (-before +after):\n%s", diff)
		}
	})
}

func TestRebootBringsEveryPodBack(t *testing.T) {
	aloneOnEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		names := apply(n, "p", 8)
		out := filepath.Join(n.Dir, "out")
		if err := os.Mkdir(out, 0o777); err != nil {
			t.Fatal(err)
		}
		done := node.Pod("done", "echo run >>/out/runs; exit 0")
		done.Spec.RestartPolicy = v1.RestartPolicyOnFailure
		done.Spec.Volumes = []v1.Volume{{Name: "out", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: out}}}}
		done.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "out", MountPath: "/out"}}
		bad := node.Pod("bad-edit", node.Sleep)
		n.Apply(done, bad)
		n.Wait("done", "succeeded", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodSucceeded })
		n.WaitRunning("bad-edit")
		n.Write("bad-edit.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: bad-edit}\nspec: {containers: oops}\n")
		time.Sleep(500 * time.Millisecond)
		n.Reboot()
		if left := n.Processes(); len(left) != 0 {
			t.Fatalf("the test's own reboot left processes: %v", left)
		}
		// No image archive and no network: what runs comes from the store.
		if err := removeContents(n.Images()); err != nil {
			t.Fatal(err)
		}
		if n.Engine == node.External {
			n.StartContainerd()
		}
		began := time.Now()
		n.Start()
		ips := map[string]bool{}
		for _, name := range append(names, "bad-edit") {
			p := n.WaitRunning(name)
			if ips[p.Status.PodIP] || p.Status.PodIP == "" {
				t.Errorf("pod %s has the address %q, as has another", name, p.Status.PodIP)
			}
			ips[p.Status.PodIP] = true
			if c := p.Status.ContainerStatuses[0]; c.RestartCount != 1 || c.LastTerminationState.Terminated == nil {
				t.Errorf("pod %s: %s, want one restart and the end before the reboot", name, node.Describe(p))
			}
		}
		t.Logf("all pods were back %v after the agent's start", time.Since(began).Round(10*time.Millisecond))
		if p := n.Pod("done"); p == nil || p.Status.Phase != v1.PodSucceeded {
			t.Errorf("the pod that had succeeded is now %s", node.Describe(p))
		}
		if b, err := os.ReadFile(filepath.Join(out, "runs")); err != nil || string(b) != "run\n" {
			t.Errorf("the pod that had succeeded ran %q (%v), want once", b, err)
		}
		n.Delete(append(names, "done", "bad-edit")...)
		n.WaitClean()
	})
}

func TestExternalContainerdKilledAndStartedAgain(t *testing.T) {
	if !strings.Contains(*enginesFlag, string(node.External)) {
		return // asked for one engine only
	}
	t.Parallel()
	n := node.New(t, node.Options{Engine: node.External, Bin: built.bin, Archives: []string{built.busybox}})
	n.Start()
	names := apply(n, "p", 5)
	n.Settle()
	before, procs := facts(n, names), n.Processes()
	for range 3 {
		n.KillContainerd()
		// What is asked for meanwhile is done afterwards, and what runs goes on.
		n.Apply(node.Pod("meanwhile", node.Sleep))
		time.Sleep(700 * time.Millisecond)
		same(t, "the end of containerd", procs, n.Processes())
		n.StartContainerd()
		n.WaitRunning("meanwhile")
		n.Delete("meanwhile")
		n.WaitGone("meanwhile")
	}
	if diff := cmp.Diff(before, facts(n, names)); diff != "" {
		t.Errorf("containerd's restart changed the pods (-before +after):\n%s", diff)
	}
	// Exits are still seen.
	n.KillProcesses(node.Of(n.Apps(), string(n.Pod(names[0]).UID)))
	n.Wait(names[0], "restarted once", func(p *v1.Pod) bool { return node.Ready(p) && node.Container(p, "app").RestartCount == 1 })
}

func TestKilledShimIsRepaired(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		names := apply(n, "p", 3)
		victim := n.Pod(names[0])
		others := facts(n, names[1:])
		var shims []node.Process
		for _, s := range n.Shims() {
			// The shim of the pod is the parent of its processes.
			for _, p := range node.Of(n.Processes(), string(victim.UID)) {
				if parent(p.PID) == s.PID {
					shims = append(shims, s)
					break
				}
			}
		}
		if len(shims) != 1 {
			t.Fatalf("the pod's processes have %d shims as their parent, want 1", len(shims))
		}
		n.KillProcesses(shims)
		n.Wait(names[0], "restarted after its shim died", func(p *v1.Pod) bool {
			return node.Ready(p) && node.Container(p, "app").ContainerID != victim.Status.ContainerStatuses[0].ContainerID
		})
		if diff := cmp.Diff(others, facts(n, names[1:])); diff != "" {
			t.Errorf("the shim's death changed other pods (-before +after):\n%s", diff)
		}
		n.Eventually("exactly one app per pod", func() string {
			for _, name := range names {
				if apps := node.Of(n.Apps(), string(n.Pod(name).UID)); len(apps) != 2 { // the shell and its sleep
					return fmt.Sprint(name, ": ", apps)
				}
			}
			return ""
		})
	})
}

func TestContainerRemovedBehindOurBackIsMadeAnew(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		names := apply(n, "p", 2)
		victim := n.Pod(names[0])
		others, old := facts(n, names[1:]), node.Of(n.Apps(), string(victim.UID))
		c := n.Containerd()
		defer func() { _ = c.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		x, err := c.LoadContainer(ctx, containerID(victim.Status.ContainerStatuses[0]))
		if err != nil {
			t.Fatal(err)
		}
		task, err := x.Task(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := task.Delete(ctx, client.WithProcessKill); err != nil {
			t.Logf("deleting the task: %v (the agent may have been faster)", err)
		}
		if err := x.Delete(ctx, client.WithSnapshotCleanup); err != nil {
			t.Logf("deleting the container: %v (the agent may have been faster)", err)
		}
		n.Wait(names[0], "running again in new processes", func(p *v1.Pod) bool {
			now := node.Of(n.Apps(), string(victim.UID))
			return node.Ready(p) && len(now) == 2 && len(old) == 2 && now[0].PID != old[0].PID && now[1].PID != old[1].PID
		})
		if diff := cmp.Diff(others, facts(n, names[1:])); diff != "" {
			t.Errorf("other pods changed (-before +after):\n%s", diff)
		}
	})
}
