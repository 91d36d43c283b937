package podmgr_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/fake"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

// events are the events of a pod as text.
func (w *world) events(k manifests.Key) (s []string) {
	for _, e := range w.m.Board().Events(k) {
		s = append(s, fmt.Sprintf("%s %s %s×%d %s", e.Type, e.Container, e.Reason, e.Count, e.Message))
	}
	return s
}

// TestAllThatAManifestWarnsOfIsThereAfterARestart: among 147 pods, and though the agent was killed before it had kept any of it.
func TestAllThatAManifestWarnsOfIsThereAfterARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events.json")
	inWorld(t, func(w *world) { w.eventFile = file }, func(w *world) {
		idle := makePod(web, "v1", v1.RestartPolicyAlways, loop)
		for i := range 14 {
			idle.Warnings = append(idle.Warnings, manifests.Problem{Pod: web, Field: fmt.Sprint("spec.", i), Message: "without effect"})
		}
		pods := []*manifests.Pod{idle}
		for i := range 147 {
			k := manifests.Key{Namespace: "default", Name: fmt.Sprint("p", i)}
			pods = append(pods, makePod(k, k.Name, v1.RestartPolicyAlways, loop, crash, crash))
		}
		told := func(when string) {
			w.t.Helper()
			fields := map[string]bool{}
			for _, e := range w.m.Board().Events(web) {
				if e.Reason == "IgnoredField" {
					fields[e.Message] = true
				}
			}
			if len(fields) != 14 {
				t.Errorf("%s %d of 14 warnings are there", when, len(fields))
			}
		}
		w.dir.wants(pods...)
		w.after(10 * time.Minute)
		told("before the restart")
		w.crash()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		w.boot()
		w.dir.wants(pods...)
		w.after(0)
		told("after the restart")
		w.after(10 * time.Minute)
		told("ten minutes later")
		if n := len(w.m.Board().Events(manifests.Key{})); n < 900 {
			t.Errorf("there are only %d events: nothing was pushed out", n)
		}
	})
}

func TestTheLifeOfAPodIsToldInTheKubeletsEvents(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, []string{"exit", "1", "1s"}))
		w.after(5 * time.Second)
		w.rt.Reboot() // seen by a running agent: the sandbox is lost
		w.after(time.Minute)
		w.dir.wants(makePod(web, "v2", v1.RestartPolicyAlways, loop))
		w.after(time.Minute)
		w.dir.wants()
		w.after(time.Minute)
		want := []string{
			`Normal a Pulling×1 Pulling image "app"`,
			`Normal a Pulled×1 Successfully pulled image "app" in 1ms (0s including waiting). Image size: 1000 bytes.`,
			`Normal  SandboxChanged×1 Pod sandbox changed, it will be killed and re-created.`,
			`Warning a BackOff×3 Back-off restarting failed container a in pod web_default(v1)`,
			`Normal a Pulled×4 Container image "app" already present on machine`,
			`Normal a Created×5 Container created`,
			`Normal a Started×5 Container started`,
			`Normal a Killing×1 Stopping container a`,
		}
		if d := cmp.Diff(want, w.events(web)); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
	})
}

func TestFailuresAreToldInTheKubeletsEvents(t *testing.T) {
	failing := func(w *world) {
		w.rt.Step = func(_ context.Context, c fake.Call, at fake.Stage) error {
			switch {
			case at != fake.Before || time.Since(c.At) > 0:
				return nil
			case c.Verb == "EnsureSandbox":
				return errors.New("no address left")
			case c.Verb == "Pull":
				return &podmgr.ReasonError{Reason: "ErrImagePull", Err: errors.New("no route to host")}
			}
			return nil
		}
	}
	inWorld(t, failing, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(5 * time.Second)
		want := map[string]bool{
			`Warning  FailedCreatePodSandBox×3 Failed to create pod sandbox: no address left`: true,
			`Warning a Failed×1 Failed to pull image "app": no route to host`:                 true,
			`Warning a Failed×1 Error: ErrImagePull`:                                          true,
			`Normal a BackOff×1 Back-off pulling image "app"`:                                 true,
			`Warning a Failed×1 Error: ImagePullBackOff`:                                      true,
		}
		got := map[string]bool{}
		for _, e := range w.events(web) {
			got[e] = true
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
	})
}

func TestASlowPullIsAnnouncedWhileItGoesOn(t *testing.T) {
	slow := func(w *world) {
		w.rt.Step = func(ctx context.Context, c fake.Call, at fake.Stage) error {
			if c.Verb == "Pull" && at == fake.Before {
				return wait(ctx, time.Minute)
			}
			return nil
		}
	}
	inWorld(t, slow, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(time.Second)
		if d := cmp.Diff([]string{`Normal a Pulling×1 Pulling image "app"`}, w.events(web)); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
	})
}

func TestANoteBecomesOneEventUntilItComesAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(5 * time.Second)
		dns := podmgr.Note{UID: "v1", Reason: "DNSConfigForming", Message: "cut"}
		env := podmgr.Note{UID: "v1", Container: "a", Reason: "InvalidEnvironmentVariableNames", Message: "1x"}
		other := podmgr.Note{UID: "v0", Reason: "DNSConfigForming", Message: "of another pod"}
		for _, notes := range [][]podmgr.Note{{dns, other}, {dns, env}, {dns, env}, {env}, {dns}} {
			w.rt.SetNotes(web, notes...)
			w.after(time.Second)
		}
		want := []string{"Warning a InvalidEnvironmentVariableNames×1 1x", "Warning  DNSConfigForming×2 cut"}
		if d := cmp.Diff(want, w.events(web)[4:]); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
	})
}
