package podmgr_test

import (
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
)

// debugged is the pod with a further ephemeral container, as the API server shows it when one was added.
func debugged(p *manifests.Pod, name string, command ...string) *manifests.Pod {
	o := p.Object.DeepCopy()
	o.Generation++
	o.Spec.EphemeralContainers = append(o.Spec.EphemeralContainers, v1.EphemeralContainer{
		EphemeralContainerCommon: v1.EphemeralContainerCommon{
			Name: name, Image: "debug", Command: command, ImagePullPolicy: v1.PullIfNotPresent,
		},
	})
	return &manifests.Pod{Object: o, Origin: p.Origin}
}

func TestAnEphemeralContainerIsStartedOnceInAPodThatRuns(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		began := time.Now()
		p := initialized("v1", v1.RestartPolicyAlways, loop)
		w.dir.wants(p)
		w.after(time.Minute)
		before := w.entry(web)
		p = debugged(p, "shell", "exit", "3", "20s")
		w.dir.wants(p)
		w.after(time.Second)
		e := w.reads(web, "Running, s runs, t ended with 0 Completed, a runs, shell runs")
		w.unmoved(before, e)
		w.after(time.Minute)
		e = w.reads(web, "Running, s runs, t ended with 0 Completed, a runs, shell ended with 3 Error")
		w.unmoved(before, e)
		p = debugged(p, "other", "run")
		w.dir.wants(p)
		w.after(time.Minute)
		w.crash()
		w.boot()
		w.dir.wants(p)
		w.after(time.Minute)
		w.reads(web, "Running, s runs, t ended with 0 Completed, a runs, other runs, shell ended with 3 Error")
		w.rt.Delete("v1_shell_0") // by someone else
		w.after(time.Minute)
		w.expect([]string{
			"0s Start s#0", "0s Start t#0", "5s Start a#0", "1m0s Start shell#0", "2m1s Start other#0",
		}, w.did(began, "Start"))
		// It is not waited for, and takes no other one's turn.
		w.dir.wants(deleting(p, 5))
		w.after(time.Minute)
		w.takenDown(web)
		w.reads(web, "Succeeded, s ended with 0 Completed, t ended with 0 Completed, a ended with 0 Completed, "+
			"other ended with 0 Completed, shell ended with 3 Error")
	})
}

// unmoved expects that the pod is as it was, apart from its ephemeral containers.
func (w *world) unmoved(before, after *podmgr.Entry) {
	w.t.Helper()
	if before.Status.Phase != after.Status.Phase || len(before.Status.Conditions) != len(after.Status.Conditions) {
		w.t.Errorf("the status was %+v and is %+v", before.Status, after.Status)
	}
	for i, c := range after.Status.Conditions {
		was := before.Status.Conditions[i]
		if c.Status != was.Status || !c.LastTransitionTime.Equal(&was.LastTransitionTime) || c.ObservedGeneration == was.ObservedGeneration {
			w.t.Errorf("condition %s was %+v and is %+v", c.Type, was, c)
		}
	}
	if n := after.Status.ObservedGeneration; n != before.Status.ObservedGeneration+1 {
		w.t.Errorf("the observed generation is %d", n)
	}
	for _, c := range after.Status.EphemeralContainerStatuses {
		if c.Ready || c.Started != nil {
			w.t.Errorf("an ephemeral container says %+v", c)
		}
	}
}

func TestAnEphemeralContainerHelpsWhereAnInitContainerFails(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := withInit(makePod(web, "v1", v1.RestartPolicyAlways, loop), "t", "exit", "1")
		w.dir.wants(p)
		w.after(time.Minute)
		w.dir.wants(debugged(p, "shell", "run"))
		w.after(time.Second)
		w.runs(web, "v1_shell_0")
		w.reads(web, "Pending, t waits CrashLoopBackOff, a waits PodInitializing, shell runs")
		if err := w.m.Restart(w.t.Context(), web); err != nil {
			t.Error(err)
		}
		w.after(time.Minute)
		w.runs(web, "v1_shell_0")
	})
}

func TestAnEphemeralContainerDoesNotKeepAPodFromItsEnd(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := makePod(web, "v1", v1.RestartPolicyNever, []string{"exit", "0", "30s"})
		w.dir.wants(p)
		w.after(time.Second)
		w.dir.wants(debugged(p, "shell", "run"))
		w.after(time.Minute)
		w.reads(web, "Succeeded, a ended with 0 Completed, shell ended with 0 Completed")
	})
}
