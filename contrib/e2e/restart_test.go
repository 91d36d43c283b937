package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

func TestRestartPolicies(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		type row struct {
			name   string
			policy v1.RestartPolicy
			code   int
			again  bool
			phase  v1.PodPhase
		}
		rows := []row{
			{"always-good", v1.RestartPolicyAlways, 0, true, v1.PodRunning},
			{"always-bad", v1.RestartPolicyAlways, 1, true, v1.PodRunning},
			{"onfailure-good", v1.RestartPolicyOnFailure, 0, false, v1.PodSucceeded},
			{"onfailure-bad", v1.RestartPolicyOnFailure, 1, true, v1.PodRunning},
			{"never-good", v1.RestartPolicyNever, 0, false, v1.PodSucceeded},
			{"never-bad", v1.RestartPolicyNever, 1, false, v1.PodFailed},
		}
		for _, r := range rows {
			p := node.Pod(r.name, fmt.Sprintf("sleep 0.2; exit %d", r.code))
			p.Spec.RestartPolicy = r.policy
			n.Apply(p)
		}
		for _, r := range rows {
			n.Wait(r.name, fmt.Sprintf("restarted (%v) or %s", r.again, r.phase), func(p *v1.Pod) bool {
				if p == nil || len(p.Status.ContainerStatuses) != 1 {
					return false
				}
				if r.again {
					return p.Status.ContainerStatuses[0].RestartCount >= 1
				}
				return p.Status.Phase == r.phase
			})
		}
		for _, r := range rows {
			p := n.Pod(r.name)
			if c := p.Status.ContainerStatuses[0]; !r.again && (c.RestartCount != 0 || c.State.Terminated == nil || int(c.State.Terminated.ExitCode) != r.code) {
				t.Errorf("pod %s: %s, want no restart and exit code %d", r.name, node.Describe(p), r.code)
			}
		}
		// Finished pods stay finished across a restart of the agent.
		n.Kill()
		n.Start()
		n.Always(time.Second, "finished pods staying finished", func() string {
			for _, r := range rows {
				if p := n.Pod(r.name); !r.again && (p == nil || p.Status.Phase != r.phase) {
					return r.name + ": " + node.Describe(p)
				}
			}
			return ""
		})
	})
}

func TestCrashLoopBackOffSurvivesTheAgent(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		n.Apply(node.Pod("crash", "exit 7"))
		inBackOff := func(restarts int32) *v1.Pod {
			return n.Wait("crash", fmt.Sprintf("in CrashLoopBackOff after %d restarts", restarts), func(p *v1.Pod) bool {
				if p == nil || len(p.Status.ContainerStatuses) == 0 {
					return false
				}
				c := p.Status.ContainerStatuses[0]
				return c.RestartCount >= restarts && c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff"
			})
		}
		before := inBackOff(1)
		c := node.Container(before, "app")
		if c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ExitCode != 7 {
			t.Errorf("the last state is %+v, want exit code 7", c.LastTerminationState)
		}
		finished := c.LastTerminationState.Terminated.FinishedAt.Time
		n.Kill()
		n.Start()
		// Still waiting, with the same count: a new agent does not start the container at once.
		after := node.Container(inBackOff(1), "app")
		if after.RestartCount != c.RestartCount {
			t.Errorf("a new agent changed the restart count from %d to %d", c.RestartCount, after.RestartCount)
		}
		next := node.Container(inBackOff(c.RestartCount+1), "app").LastTerminationState.Terminated
		if wait := next.StartedAt.Sub(finished); wait < 9*time.Second || wait > 30*time.Second {
			t.Errorf("the container was started again %v after its end, want about 10 s or 20 s of back-off", wait)
		}
	})
}

func TestKilledContainerIsStartedAgainAlone(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		p := node.Pod("two", node.Sleep)
		second := *p.Spec.Containers[0].DeepCopy()
		second.Name = "other"
		p.Spec.Containers = append(p.Spec.Containers, second)
		n.Apply(p)
		before := n.WaitRunning("two")
		// Every process of the first container: found by its container's cgroup.
		id := containerID(node.Container(before, "app"))
		var victims, others []node.Process
		for _, x := range n.Apps() {
			if filepath.Base(x.Cgroup) == id || containsID(x.Cgroup, id) {
				victims = append(victims, x)
			} else {
				others = append(others, x)
			}
		}
		if len(victims) == 0 {
			t.Fatalf("no process in the cgroup of container %s: %v", id, n.Apps())
		}
		n.KillProcesses(victims)
		after := n.Wait("two", "with one restart", func(p *v1.Pod) bool {
			return node.Ready(p) && node.Container(p, "app").RestartCount == 1
		})
		if got := node.Container(after, "app").LastTerminationState.Terminated; got == nil || got.ExitCode != 137 {
			t.Errorf("the last state is %+v, want exit code 137", got)
		}
		if c := node.Container(after, "other"); c.RestartCount != 0 {
			t.Errorf("the other container was restarted %d times", c.RestartCount)
		}
		for _, o := range others {
			if !alive(n, o) {
				t.Errorf("the other container's process %s is gone", o)
			}
		}
		if before.Status.PodIP != after.Status.PodIP {
			t.Errorf("the pod's address changed from %s to %s", before.Status.PodIP, after.Status.PodIP)
		}
	})
}

func TestGracePeriod(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		dir := filepath.Join(n.Dir, "out")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		polite := node.Pod("polite", "trap 'sleep 0.3; echo done >/out/polite; exit 0' TERM; "+node.Sleep)
		polite.Spec.Volumes = []v1.Volume{{Name: "out", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: dir}}}}
		polite.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "out", MountPath: "/out"}}
		// Stubborn ignores TERM, and its child has its own session: KILL has to reach the whole container.
		stubborn := node.Pod("stubborn", "trap '' TERM; setsid sleep 3600 & while :; do sleep 1; done")
		grace := int64(2)
		stubborn.Spec.TerminationGracePeriodSeconds = &grace
		n.Apply(polite, stubborn)
		n.WaitRunning("polite", "stubborn")
		uid := string(n.Pod("stubborn").UID)
		n.Eventually("the stubborn child to run", func() string {
			if len(node.Of(n.Apps(), uid)) < 2 {
				return fmt.Sprint(n.Apps())
			}
			return ""
		})
		n.Delete("polite", "stubborn")
		began := time.Now()
		n.WaitGone("polite")
		if took := time.Since(began); took > 1900*time.Millisecond {
			t.Errorf("the polite pod went after %v although it needs 0.3 s: one pod waits for another", took)
		}
		if _, err := os.Stat(filepath.Join(dir, "polite")); err != nil {
			t.Errorf("the polite pod could not finish: %v", err)
		}
		if len(node.Of(n.Apps(), uid)) == 0 {
			t.Errorf("the stubborn pod was killed before its grace period of 2 s was over")
		}
		n.WaitGone("stubborn")
		if took := time.Since(began); took < 1900*time.Millisecond || took > 10*time.Second {
			t.Errorf("the stubborn pod went after %v, want 2 s", took)
		}
		if left := node.Of(n.Apps(), uid); len(left) != 0 {
			t.Errorf("processes survived the KILL: %v", left)
		}
	})
}

func TestGracePeriodGoesOnAcrossAnAgentRestart(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		p := node.Pod("stubborn", "trap '' TERM; while :; do sleep 1; done")
		grace := int64(4)
		p.Spec.TerminationGracePeriodSeconds = &grace
		n.Apply(p)
		n.WaitRunning("stubborn")
		n.Delete("stubborn")
		time.Sleep(500 * time.Millisecond)
		n.Kill()
		n.Start()
		n.WaitGone("stubborn")
		n.WaitClean()
	})
}

// alive says whether exactly this process still lives.
func alive(n *node.Node, p node.Process) bool {
	if syscall.Kill(p.PID, 0) != nil {
		return false
	}
	for _, q := range n.Processes() {
		if q.PID == p.PID && q.Start == p.Start {
			return true
		}
	}
	return false
}
