package health

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func every(kind Kind, s *script) *Probing {
	return &Probing{Spec{Kind: kind, Period: time.Second, FailureThreshold: 2}, s.try}
}

// follow runs a group for a while, with act in between, and returns its states as they changed.
func follow(t *testing.T, c GroupConfig, length time.Duration, act func(*Group)) (states []string) {
	t.Helper()
	start := time.Now()
	var g *Group
	var mu sync.Mutex
	note := func() {
		mu.Lock()
		defer mu.Unlock()
		s := g.State()
		states = append(states, fmt.Sprintf("%s started=%t ready=%t alive=%t %s %s", seconds1(time.Since(start)), s.Started, s.Ready, s.Alive, s.Reason, s.Message))
	}
	c.Changed = note
	g = NewGroup(c)
	note()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	if act != nil {
		act(g)
	}
	<-done
	return states
}

func TestAGroupHoldsLivenessAndReadinessUntilStartup(t *testing.T) {
	for _, tt := range []struct {
		name                         string
		startup, liveness, readiness string // scripts; empty: no such probe
		adopted                      bool
		was                          State
		length                       time.Duration
		terminate                    time.Duration
		want                         []string
		begun                        [3][]string // startup, liveness, readiness
	}{
		{
			name: "without probes a running container is started, ready and alive", length: time.Second,
			want: []string{"0 started=true ready=true alive=true  "},
		},
		{
			name: "readiness alone", readiness: "fsf", length: 3500 * time.Millisecond,
			want: []string{
				"0 started=true ready=false alive=true Readiness ", "1 started=true ready=true alive=true  ",
				"3 started=true ready=false alive=true Readiness down",
			},
			begun: [3][]string{nil, nil, {"0", "1", "2", "3"}},
		},
		{
			name: "startup gates the others, readiness is asked at once when it succeeds", startup: "fs", liveness: "s", readiness: "s", length: 2500 * time.Millisecond,
			want:  []string{"0 started=false ready=false alive=true Startup ", "1 started=true ready=false alive=true Readiness ", "1 started=true ready=true alive=true  "},
			begun: [3][]string{{"0", "1"}, {"1", "2"}, {"1", "2"}},
		},
		{
			name: "startup alone makes ready", startup: "fs", length: time.Minute,
			want:  []string{"0 started=false ready=false alive=true Startup ", "1 started=true ready=true alive=true  "},
			begun: [3][]string{{"0", "1"}, nil, nil},
		},
		{
			name: "a startup that fails ends it", startup: "f", liveness: "s", readiness: "s", length: time.Minute,
			want:  []string{"0 started=false ready=false alive=true Startup ", "1 started=false ready=false alive=false Startup down"},
			begun: [3][]string{{"0", "1"}, nil, nil},
		},
		{
			name: "a liveness that fails is the end of liveness, not of readiness", liveness: "f", readiness: "sf", length: 2500 * time.Millisecond,
			want: []string{
				"0 started=true ready=false alive=true Readiness ", "0 started=true ready=true alive=true  ",
				"1 started=true ready=true alive=false Liveness down", "2 started=true ready=false alive=false Liveness down",
			},
			begun: [3][]string{nil, {"0", "1"}, {"0", "1", "2"}},
		},
		{
			name: "termination ends liveness, readiness goes on", liveness: "f", readiness: "sf", length: 2500 * time.Millisecond, terminate: 500 * time.Millisecond,
			want: []string{
				"0 started=true ready=false alive=true Readiness ", "0 started=true ready=true alive=true  ",
				"2 started=true ready=false alive=true Readiness down",
			},
			begun: [3][]string{nil, {"0"}, {"0", "1", "2"}},
		},
		{
			name: "termination ends startup", startup: "f", readiness: "s", length: time.Minute, terminate: 500 * time.Millisecond,
			want:  []string{"0 started=false ready=false alive=true Startup "},
			begun: [3][]string{{"0"}, nil, nil},
		},
		{
			name: "an adopted container stays ready and is not asked again whether it has started", startup: "f", readiness: "sss", adopted: true,
			was: State{Started: true, Ready: true, Alive: true}, length: 2500 * time.Millisecond,
			want: []string{"0 started=true ready=true alive=true  "},
		},
		{
			name: "an adopted container that was still starting goes on with that", startup: "s", adopted: true,
			was: State{Alive: true}, length: 1500 * time.Millisecond,
			want: []string{"0 started=false ready=false alive=true Startup ", "* started=true ready=true alive=true  "},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := GroupConfig{Started: time.Now(), Adopted: tt.adopted, Was: tt.was}
				if tt.adopted {
					c.Started = c.Started.Add(-time.Hour)
				}
				scripts := [3]*script{}
				for i, answers := range []string{tt.startup, tt.liveness, tt.readiness} {
					if scripts[i] = newScript(answers); answers == "" {
						continue
					}
					*[]**Probing{&c.Startup, &c.Liveness, &c.Readiness}[i] = every([]Kind{Startup, Liveness, Readiness}[i], scripts[i])
				}
				var act func(*Group)
				if tt.terminate > 0 {
					act = func(g *Group) {
						time.Sleep(tt.terminate)
						g.Terminate()
					}
				}
				got := follow(t, c, tt.length, act)
				for i := range got {
					if i < len(tt.want) && tt.want[i][0] == '*' { // at a random moment
						_, rest, _ := strings.Cut(got[i], " ")
						got[i] = "* " + rest
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
				if tt.adopted {
					return // begins at a random moment
				}
				for i, s := range scripts {
					if diff := cmp.Diff(tt.begun[i], s.begun); diff != "" {
						t.Errorf("tries of %d: %s", i, diff)
					}
				}
			})
		})
	}
}

func TestTerminateBeforeRunHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript("f")
		g := NewGroup(GroupConfig{Liveness: every(Liveness, s), Started: time.Now()})
		g.Terminate()
		g.Run(t.Context())
		if len(s.begun) > 0 || !g.State().Alive {
			t.Errorf("%v %+v", s.begun, g.State())
		}
		g.judge(Verdict{Liveness, false, "crossed"})
		if !g.State().Alive {
			t.Error("a verdict that crossed Terminate counts")
		}
	})
}
