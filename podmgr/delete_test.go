package podmgr_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

// told is a pod with the status that the API server was told last.
func told(p *manifests.Pod, e *podmgr.Entry) *manifests.Pod {
	o := p.Object.DeepCopy()
	o.Status = *e.Status.DeepCopy()
	return &manifests.Pod{Object: o, Origin: p.Origin}
}

// brief is a status in one line.
func brief(s *v1.PodStatus) string {
	words := []string{strings.TrimSpace(string(s.Phase) + " " + s.Reason)}
	for _, list := range [][]v1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for _, c := range list {
			switch t := c.State.Terminated; {
			case t != nil:
				words = append(words, fmt.Sprintf("%s ended with %d %s", c.Name, t.ExitCode, t.Reason))
			case c.State.Running != nil:
				words = append(words, c.Name+" runs")
			default:
				words = append(words, c.Name+" waits "+c.State.Waiting.Reason)
			}
		}
	}
	return strings.Join(words, ", ")
}

func (w *world) reads(k manifests.Key, want string) *podmgr.Entry {
	w.t.Helper()
	e := w.entry(k)
	if d := cmp.Diff(want, brief(&e.Status)); d != "" {
		w.t.Errorf("the status (-want +got):\n%s", d)
	}
	return e
}

func TestADeletedPodKeepsItsLastStatusUntilTheSourceDropsIt(t *testing.T) {
	cases := map[string]struct {
		pod         *manifests.Pod
		during, end string
	}{
		"it ends well": {
			pod: makePod(web, "v1", v1.RestartPolicyAlways, loop),
			end: "Succeeded, a ended with 0 Completed",
		},
		"it has to be killed": {
			pod:    initialized("v1", v1.RestartPolicyAlways, loop, stubborn),
			during: "Running, s runs, t ended with 0 Completed, a ended with 0 Completed, b runs",
			end:    "Failed, s ended with 0 Completed, t ended with 0 Completed, a ended with 0 Completed, b ended with 137 Error",
		},
		"it crashes again and again": {
			pod:    makePod(web, "v1", v1.RestartPolicyAlways, []string{"exit", "3"}, stubborn),
			during: "Running, a ended with 3 Error, b runs",
			end:    "Failed, a ended with 3 Error, b ended with 137 Error",
		},
		"its image never came": {
			pod: with(makePod(web, "v1", v1.RestartPolicyAlways, loop), "a", func(c *v1.Container) {
				c.Image, c.ImagePullPolicy = "none", v1.PullNever
			}),
			end: "Failed, a ended with 137 ContainerStatusUnknown",
		},
		"its init container never ended": {
			pod: withInit(withInit(makePod(web, "v1", v1.RestartPolicyAlways, loop), "t", "stubborn"), "u", "run"),
			// Its main container never had its turn.
			during: "Pending, t runs, u waits PodInitializing, a waits PodInitializing",
			end:    "Failed, t ended with 137 Error, u waits PodInitializing, a waits PodInitializing",
		},
		"it had succeeded": {
			pod: makePod(web, "v1", v1.RestartPolicyNever, []string{"exit", "0"}),
			end: "Succeeded, a ended with 0 Completed",
		},
		"it had failed": {
			pod: makePod(web, "v1", v1.RestartPolicyNever, []string{"exit", "0"}, []string{"exit", "4"}),
			end: "Failed, a ended with 0 Completed, b ended with 4 Error",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				w.dir.wants(c.pod)
				w.after(time.Minute)
				before := w.entry(web)
				if before.Gone {
					t.Error("it is gone while it is wanted")
				}
				starts := w.count("Start")
				w.dir.wants(told(deleting(c.pod, 10), before))
				w.after(time.Second)
				if c.during != "" {
					if e := w.reads(web, c.during); e.Gone {
						t.Error("it is gone while it ends")
					}
				}
				w.after(time.Minute)
				w.reads(web, c.end)
				last := w.takenDown(web)
				if ready := last.Status.Conditions; !cmp.Equal(last.Status.StartTime, before.Status.StartTime) || isTrue(ready, v1.PodReady) {
					t.Errorf("the last status is %+v", last.Status)
				}
				w.crash()
				w.boot()
				w.dir.wants(told(deleting(c.pod, 10), last))
				w.after(time.Minute)
				w.reads(web, c.end)
				w.takenDown(web)
				w.dir.wants()
				w.after(time.Second)
				w.gone(web)
				if n := w.count("Start"); n != starts {
					t.Errorf("something was started: %v", w.calls())
				}
			})
		})
	}
}

func isTrue(conditions []v1.PodCondition, kind v1.PodConditionType) bool {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

func TestAnAgentThatRestartsWhileAPodIsDeletedEndsIt(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		p := with(makePod(web, "v1", v1.RestartPolicyAlways, stubborn, []string{"exit", "7", "65s"}), "a", preStop("exit", "0", "2s"))
		w.dir.wants(p)
		w.after(time.Minute)
		shown := w.entry(web)
		w.dir.wants(told(deleting(p, 20), shown))
		w.after(10 * time.Second)
		w.crash()
		w.boot()
		w.dir.wants(told(deleting(p, 20), shown))
		w.after(time.Minute)
		w.expect([]string{"1m0s Exec a#0 exit 0 2s", "1m10s Exec a#0 exit 0 2s"}, w.did(began, "Exec"))
		w.expect([]string{
			"1m0s Stop b#0 within 20s", "1m2s Stop a#0 within 18s", "1m12s Stop a#0 within 18s",
		}, w.did(began, "Stop"))
		// The first agent took b away and could tell nobody how it had ended.
		w.reads(web, "Failed, a ended with 137 Error, b ended with 137 ContainerStatusUnknown")
		w.takenDown(web)
	})
}

func TestADeletionMayGrantMoreTimeThanThePodAskedFor(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		p := makePod(web, "v1", v1.RestartPolicyAlways, stubborn)
		w.dir.wants(p)
		w.after(time.Minute)
		w.dir.wants(deleting(p, 90))
		w.after(time.Minute)
		w.dir.wants(deleting(p, 100)) // it only gets shorter
		w.after(20 * time.Second)
		w.runs(web, "v1_a_0")
		w.after(10 * time.Second)
		w.takenDown(web)
		w.expect([]string{"1m0s Stop a#0 within 1m30s"}, w.did(began, "Stop"))
	})
}

func TestANewPodFollowsADeletedOneAtOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyAlways, loop)
		w.dir.wants(p)
		w.after(time.Minute)
		w.dir.wants(deleting(p, 20))
		w.after(time.Second)
		w.takenDown(web)
		w.dir.wants(makePod(web, "v2", v1.RestartPolicyAlways, loop))
		w.after(time.Second)
		w.runs(web, "v2_a_0")
		if e := w.reads(web, "Running, a runs"); e.Gone || !e.Deleted.IsZero() {
			t.Errorf("the entry is %+v", e)
		}
	})
}

func TestAFinalStatusOfTheSourceEndsThePod(t *testing.T) {
	evicted := func(p *manifests.Pod, e *podmgr.Entry) *manifests.Pod {
		p = told(p, e)
		s := &p.Object.Status
		s.Phase, s.Reason, s.Message = v1.PodFailed, "Evicted", "The node was low on resource: memory."
		p.Object.DeletionGracePeriodSeconds = new(int64(1))
		return p
	}
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyAlways, stubborn)
		w.dir.wants(p)
		w.after(time.Minute)
		p = evicted(p, w.entry(web))
		w.dir.wants(p)
		w.after(3 * time.Second)
		e := w.reads(web, "Failed Evicted, a ended with 137 Error")
		if e.Status.Message == "" || e.Gone || !e.Deleted.IsZero() {
			t.Errorf("the entry is %+v", e)
		}
		if o := w.rt.Now(web); len(o.Sandboxes) != 0 || len(o.Containers) != 1 {
			t.Errorf("there is %+v", o)
		}
		w.crash()
		w.rt.Reboot()
		w.rt.Delete("v1_a_0")
		w.boot()
		w.dir.wants(told(p, e))
		w.after(time.Minute)
		w.reads(web, "Failed Evicted, a ended with 137 Error")
		if n := w.count("Start"); n != 1 {
			t.Errorf("it was started again: %v", w.calls())
		}
	})
}
