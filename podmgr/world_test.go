package podmgr_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/fake"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var web = manifests.Key{Namespace: "default", Name: "web"}

// makePod makes a pod with one container per command; the UID names its version.
func makePod(k manifests.Key, uid string, policy v1.RestartPolicy, commands ...[]string) *manifests.Pod {
	grace := int64(30)
	o := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, UID: types.UID(uid)}}
	o.Spec.RestartPolicy = policy
	o.Spec.TerminationGracePeriodSeconds = &grace
	for i, command := range commands {
		o.Spec.Containers = append(o.Spec.Containers, v1.Container{
			Name: string(rune('a' + i)), Image: "app", Command: command, ImagePullPolicy: v1.PullIfNotPresent,
		})
	}
	return &manifests.Pod{Object: o, Origin: manifests.Origin{File: "/manifests/" + uid + ".yaml"}}
}

// source is a Source whose snapshots a test sends.
type source struct {
	name string
	sent chan manifests.Snapshot
}

func newSource(name string) *source { return &source{name: name, sent: make(chan manifests.Snapshot)} }

func (s *source) Name() string { return s.name }

func (s *source) Run(ctx context.Context, out chan<- manifests.Snapshot) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case snapshot := <-s.sent:
			select {
			case out <- snapshot:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// wants sends the source's whole set.
func (s *source) wants(pods ...*manifests.Pod) {
	s.sent <- manifests.Snapshot{Source: s.name, Pods: pods}
}

// world is one agent over a fake runtime, in a synctest bubble.
type world struct {
	t         *testing.T
	rt        *fake.Runtime
	dir       *source
	sources   []podmgr.Source
	period    time.Duration // Options.MaxRestartPeriod
	eventFile string        // Options.EventFile
	hooks     podmgr.Hooks
	m         *podmgr.Manager
	kill      context.CancelFunc
	dead      chan struct{}
}

// inWorld runs a test in a world of its own; prepare may set the runtime up.
func inWorld(t *testing.T, prepare func(*world), run func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, rt: fake.New(), dir: newSource("dir:/manifests")}
		w.sources = []podmgr.Source{w.dir}
		if prepare != nil {
			prepare(w)
		}
		w.boot()
		run(w)
		w.crash()
		for _, v := range w.rt.Violations() {
			t.Errorf("a law was broken: %s", v)
		}
	})
}

// boot starts an agent.
func (w *world) boot() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.m = podmgr.New(podmgr.Options{
		Runtime: w.rt, Sources: w.sources, NodeName: "node", HostIP: func() string { return "192.0.2.1" },
		Hooks: w.hooks, MaxRestartPeriod: w.period, EventFile: w.eventFile, Log: zerolog.Nop(),
	})
	w.kill, w.dead = cancel, make(chan struct{})
	go func() {
		defer close(w.dead)
		if err := w.m.Run(ctx); err != nil {
			w.t.Errorf("Run returned %v", err)
		}
	}()
}

// crash ends the agent and waits until all its goroutines are gone.
func (w *world) crash() {
	w.kill()
	<-w.dead
}

// after lets time pass and everything settle.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) entry(k manifests.Key) *podmgr.Entry {
	w.t.Helper()
	e, ok := w.m.Board().Get(k)
	if !ok {
		w.t.Fatalf("pod %s is not on the board", k)
	}
	return e
}

// count is how many calls of a verb there were.
func (w *world) count(verb string) (n int) {
	for _, c := range w.rt.Calls() {
		if c.Verb == verb {
			n++
		}
	}
	return n
}

// calls are the calls so far as text, without Seal.
func (w *world) calls() (s []string) {
	for _, c := range w.rt.Calls() {
		s = append(s, c.String())
	}
	return s
}

// running are the IDs of what runs of a pod.
func (w *world) running(k manifests.Key) (ids []string) {
	for _, c := range w.rt.Now(k).Containers {
		if c.State == podmgr.Running {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func (w *world) runs(k manifests.Key, ids ...string) {
	w.t.Helper()
	if got := fmt.Sprint(w.running(k)); got != fmt.Sprint(ids) {
		w.t.Errorf("of %s there runs %v, want %v", k, got, ids)
	}
}

func (w *world) gone(k manifests.Key) {
	w.t.Helper()
	if o := w.rt.Now(k); len(o.Containers)+len(o.Sandboxes)+len(o.Remains) > 0 {
		w.t.Errorf("of %s there is left %+v", k, o)
	}
	if _, shown := w.m.Board().Get(k); shown {
		w.t.Errorf("%s is still on the board", k)
	}
}

// takenDown expects that nothing is left of a pod but its last status.
func (w *world) takenDown(k manifests.Key) *podmgr.Entry {
	w.t.Helper()
	if o := w.rt.Now(k); len(o.Containers)+len(o.Sandboxes)+len(o.Remains) > 0 {
		w.t.Errorf("of %s there is left %+v", k, o)
	}
	e := w.entry(k)
	if !e.Gone {
		w.t.Errorf("%s is not said to be gone", k)
	}
	return e
}

// deleting is the pod as the API server shows it while it deletes it.
func deleting(p *manifests.Pod, seconds int64) *manifests.Pod {
	o := p.Object.DeepCopy()
	now := metav1.Now()
	o.DeletionTimestamp, o.DeletionGracePeriodSeconds = &now, &seconds
	return &manifests.Pod{Object: o, Origin: p.Origin}
}
