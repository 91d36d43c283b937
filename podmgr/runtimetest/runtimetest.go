// Package runtimetest holds the laws of podmgr.Runtime as one suite, to be run over every adapter: the fake, the embedded
// engine, an external containerd.
//
//	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject { … })
package runtimetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Subject is one runtime under test, with what it needs to run something.
type Subject struct {
	Runtime podmgr.Runtime
	// Reopen stands for a restart of the agent: it returns a new Runtime over what exists, and the old one is no longer
	// used; away is how long none is there. Nil when the adapter has nothing to reopen.
	Reopen func(t *testing.T, away time.Duration) podmgr.Runtime
	// Image is present on the node, Missing can be had from nowhere.
	Image   string
	Missing string
	// Command is the container command that makes Image do what a program says.
	Command func(Program) []string
	// HostNetwork makes the pods use the host's network, for a place where no other can be had.
	HostNetwork bool
	// Processes names the PID namespace of what runs in a container; nil for a runtime without processes.
	Processes func(t *testing.T, id string) string
	// Limits reads the CPU and memory limits of a container's cgroup, of the pod's without a name; nil for a runtime
	// without cgroups.
	Limits func(t *testing.T, p *manifests.Pod, container string) podmgr.Resources
	// Patience is how long anything may take; 0 means 30 s.
	Patience time.Duration
}

// Program is what a container of the suite does, or a command in one.
type Program struct {
	// Kind is Loop, Stubborn, Exit, Hog or HogChild.
	Kind Kind
	// Code is the exit code of Exit and HogChild.
	Code int32
}

// Kind is a kind of Program.
type Kind int

const (
	// Loop runs until it is sent TERM, and then ends at once.
	Loop Kind = iota
	// Stubborn runs and ignores TERM.
	Stubborn
	// Exit ends at once.
	Exit
	// Hog is killed by the kernel because it uses too much memory, after about a second.
	Hog
	// HogChild is a program one of whose children is killed so; it then exits with Code.
	HogChild
)

// Run runs the suite; each test gets a fresh Subject. Everything a test makes it takes down again through the Runtime.
func Run(t *testing.T, newSubject func(t *testing.T) Subject) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"what does not exist is absent and can be removed", (*suite).nothing},
		{"an image that is here needs no registry", (*suite).imageHere},
		{"a pull that cannot succeed says why", (*suite).imageMissing},
		{"ensuring a sandbox twice changes nothing", (*suite).sandbox},
		{"a started container runs once, however often it is started", (*suite).startTwice},
		{"an exit is hinted at and its facts are kept by a seal", (*suite).exit},
		{"an exit with code 0 is completed", (*suite).exitZero},
		{"starting an attempt that has ended returns nil and runs nothing", (*suite).startEnded},
		{"the next attempt stands beside the last one", (*suite).nextAttempt},
		{"a stop ends the container within its grace", (*suite).stop},
		{"a stop kills what ignores TERM", (*suite).stopStubborn},
		{"a stop that is cancelled returns and can be repeated", (*suite).stopCancelled},
		{"a running container is not removed", (*suite).removeRunning},
		{"a cancelled start converges when it is repeated", (*suite).startCancelled},
		{"a cancelled sandbox converges when it is repeated", (*suite).sandboxCancelled},
		{"containers of one pod start side by side", (*suite).sideBySide},
		{"pods do not disturb each other", (*suite).manyPods},
		{"a command in a container ends with its code", (*suite).exec},
		{"a command that is given up is over", (*suite).execCancelled},
		{"an ephemeral container sees the processes of its target", (*suite).ephemeral},
		{"a resize changes the cgroups of what runs", (*suite).resize},
		{"a container that was killed for memory says so", (*suite).oom},
		{"an agent that was away learns of a kill for memory", (*suite).oomUnseen},
		{"a container that failed in silence shows the end of its log", (*suite).lastWords},
		{"a mark is kept with its instance", (*suite).mark},
		{"a pod is recalled until it is forgotten", (*suite).recall},
		{"instances and their sandbox are of one life", (*suite).life},
		{"refreshing a pod that shows nothing changes nothing", (*suite).refresh},
		{"a takedown leaves nothing", (*suite).takedown},
		{"a new agent sees what the old one saw", (*suite).reopen},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{t: t, Subject: newSubject(t)}
			if s.Patience == 0 {
				s.Patience = 30 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*s.Patience)
			defer cancel()
			s.ctx = ctx
			c.run(s)
		})
	}
}

// suite is the state of one test. It keeps the test's context for brevity's sake.
//
//nolint:containedctx // a test's own
type suite struct {
	Subject
	t   *testing.T
	ctx context.Context
}

// pod makes a pod whose containers a, b, … run the programs. Its pods are taken down when the test ends.
func (s *suite) pod(name string, programs ...Program) *manifests.Pod {
	s.t.Helper()
	grace := int64(20)
	o := &v1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "runtimetest", Name: name, UID: types.UID("0f0e0d0c-0000-4000-8000-" + fmt.Sprintf("%012x", hash(name))),
	}}
	o.Spec.RestartPolicy = v1.RestartPolicyAlways
	o.Spec.TerminationGracePeriodSeconds = &grace
	o.Spec.HostNetwork = s.HostNetwork
	o.Spec.DNSPolicy = v1.DNSDefault
	enable := true
	o.Spec.EnableServiceLinks = &enable
	for i, p := range programs {
		o.Spec.Containers = append(o.Spec.Containers, v1.Container{
			Name: string(rune('a' + i)), Image: s.Image, Command: s.Command(p), ImagePullPolicy: v1.PullIfNotPresent,
			TerminationMessagePath: v1.TerminationMessagePathDefault, TerminationMessagePolicy: v1.TerminationMessageReadFile,
		})
	}
	p := &manifests.Pod{Object: o, Origin: manifests.Origin{File: "runtimetest"}}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.Patience)
		defer cancel()
		s.ctx = ctx
		s.down(p)
	})
	return p
}

func hash(s string) (h uint32) {
	for _, b := range []byte(s) {
		h = h*31 + uint32(b)
	}
	return h
}

// must fails the test on an error.
func (s *suite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) observe(p *manifests.Pod) podmgr.Observed {
	s.t.Helper()
	o, err := s.Runtime.Observe(s.ctx, p.Key())
	s.must(err)
	return o
}

// up makes the pod's image and sandbox ready and starts its containers.
func (s *suite) up(p *manifests.Pod) {
	s.t.Helper()
	s.sandboxOf(p)
	for _, c := range p.Object.Spec.Containers {
		s.must(s.Runtime.Start(s.ctx, p, podmgr.Instance{Container: c.Name}))
	}
}

func (s *suite) sandboxOf(p *manifests.Pod) {
	s.t.Helper()
	_, err := s.Runtime.Pull(s.ctx, p, s.Image, podmgr.PullPolicy(v1.PullIfNotPresent))
	s.must(err)
	s.must(s.Runtime.EnsureSandbox(s.ctx, p))
}

// down takes the pod down as the manager does, whatever there is of it.
func (s *suite) down(p *manifests.Pod) {
	s.t.Helper()
	o := s.observe(p)
	for _, c := range o.Containers {
		if !c.State.Ended() {
			s.must(s.Runtime.Stop(s.ctx, c.ID, 0))
		}
		s.must(s.Runtime.Remove(s.ctx, c.ID))
	}
	for _, sb := range o.Sandboxes {
		s.must(s.Runtime.RemoveSandbox(s.ctx, sb.ID))
	}
	for _, uid := range s.observe(p).Remains {
		s.must(s.Runtime.Forget(s.ctx, p.Key(), uid))
	}
}

// instance returns the instance of a container with an attempt.
func (s *suite) instance(p *manifests.Pod, name string, attempt int) podmgr.Container {
	s.t.Helper()
	o := s.observe(p)
	i := slices.IndexFunc(o.Containers, func(c podmgr.Container) bool { return c.Name == name && c.Attempt == attempt })
	if i < 0 {
		s.t.Fatalf("container %s has no attempt %d in %+v", name, attempt, o)
	}
	return o.Containers[i]
}

// await looks at an instance until ok says so: at each hint for its pod, and each 50 ms, since hints may be lost.
func (s *suite) await(p *manifests.Pod, name string, attempt int, ok func(podmgr.Container) bool) podmgr.Container {
	s.t.Helper()
	deadline := time.Now().Add(s.Patience)
	for {
		c := s.instance(p, name, attempt)
		if ok(c) {
			return c
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("after %v the container still is %+v", s.Patience, c)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func ended(c podmgr.Container) bool { return c.State.Ended() }
