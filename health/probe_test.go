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

// script is a try that answers by the letters of a string, the last one for ever: s success, f failure, w warning,
// u unknown, h hangs until its time is over, x hangs for 10 s whatever its time, p panics. It records when it began.
type script struct {
	mu     sync.Mutex
	answer string
	start  time.Time
	begun  []string // seconds since start
	beside int      // how many run
	most   int
}

func newScript(answers string) *script { return &script{answer: answers, start: time.Now()} }

func (s *script) try(ctx context.Context) Result {
	s.mu.Lock()
	a := s.answer[0]
	if len(s.answer) > 1 {
		s.answer = s.answer[1:]
	}
	s.begun = append(s.begun, seconds1(time.Since(s.start)))
	s.beside++
	s.most = max(s.most, s.beside)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.beside--
		s.mu.Unlock()
	}()
	switch a {
	case 'f':
		return Result{Failure, "down"}
	case 'w':
		return Result{Warning, "moved"}
	case 'u':
		return Result{Unknown, "engine away"}
	case 'h':
		<-ctx.Done()
		return Result{Failure, "timed out"}
	case 'x':
		time.Sleep(10 * time.Second)
		return Result{Failure, "back at last"}
	case 'p':
		panic("hostile")
	}
	return Result{Outcome: Success}
}

func seconds1(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.3f", d.Seconds()), ".000")
}

// watch runs p for a while and returns what it was told: "seconds OK" or "seconds failed".
func watch(t *testing.T, p *Probe, length time.Duration) (verdicts []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	start := time.Now()
	p.Verdict = func(v Verdict) {
		word := "failed"
		if v.OK {
			word = "OK"
		}
		verdicts = append(verdicts, seconds1(time.Since(start))+" "+word)
	}
	p.Run(ctx)
	return verdicts
}

func TestAProbeComesToVerdictsAsTheKubelet(t *testing.T) {
	for _, tt := range []struct {
		name    string
		spec    Spec
		initial Outcome
		answers string
		length  time.Duration
		want    []string // verdicts
		begun   []string
	}{
		{
			"a liveness probe is presumed well, and ends with its failure",
			Spec{Kind: Liveness, FailureThreshold: 3, Period: time.Second},
			"", "sffsfff", time.Minute,
			[]string{"6 failed"},
			[]string{"0", "1", "2", "3", "4", "5", "6"},
		},
		{
			"a liveness probe that passes has nothing to tell",
			Spec{Kind: Liveness, Period: 10 * time.Second},
			"", "s", 25 * time.Second,
			nil,
			[]string{"0", "10", "20"},
		},
		{
			"a readiness probe is presumed not ready and turns on and off by its thresholds",
			Spec{Kind: Readiness, SuccessThreshold: 2, FailureThreshold: 3, Period: time.Second},
			"", "fsfssffsfffs", 11500 * time.Millisecond,
			[]string{"4 OK", "10 failed"},
			[]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"},
		},
		{
			"a readiness probe that never passed tells its reason once",
			Spec{Kind: Readiness, FailureThreshold: 2, Period: time.Second},
			"", "f", 5500 * time.Millisecond,
			[]string{"1 failed"},
			[]string{"0", "1", "2", "3", "4", "5"},
		},
		{
			"readiness from before a restart of the agent is kept until the threshold says otherwise",
			Spec{Kind: Readiness, FailureThreshold: 3, Period: time.Second},
			Success, "ffsfff", 6500 * time.Millisecond,
			[]string{"5 failed"},
			[]string{"0", "1", "2", "3", "4", "5", "6"},
		},
		{
			"a startup probe ends with its first success",
			Spec{Kind: Startup, FailureThreshold: 5, Period: time.Second},
			"", "fffs", time.Minute,
			[]string{"3 OK"},
			[]string{"0", "1", "2", "3"},
		},
		{
			"a startup probe ends with its failure",
			Spec{Kind: Startup, FailureThreshold: 3, Period: time.Second},
			"", "f", time.Minute,
			[]string{"2 failed"},
			[]string{"0", "1", "2"},
		},
		{
			"a warning counts as success",
			Spec{Kind: Readiness, Period: time.Second},
			"", "w", 500 * time.Millisecond,
			[]string{"0 OK"},
			[]string{"0"},
		},
		{
			"what cannot be asked is asked three times and counts neither way",
			Spec{Kind: Liveness, FailureThreshold: 2, Period: time.Second},
			"", "fuuuf", time.Minute,
			[]string{"2 failed"},
			[]string{"0", "1", "1", "1", "2"},
		},
		{
			"an answer at the third try counts",
			Spec{Kind: Liveness, FailureThreshold: 2, Period: time.Second},
			"", "fuuf", time.Minute,
			[]string{"1 failed"},
			[]string{"0", "1", "1", "1"},
		},
		{
			"a panic is what cannot be asked",
			Spec{Kind: Readiness, Period: time.Second},
			"", "ps", 1500 * time.Millisecond,
			[]string{"1 OK"},
			[]string{"0", "1"},
		},
		{
			"the initial delay counts from the start",
			Spec{Kind: Readiness, InitialDelay: 7 * time.Second, Period: 10 * time.Second},
			"", "s", 20 * time.Second,
			[]string{"7 OK"},
			[]string{"7", "17"},
		},
		{
			"periods may be shorter than a second",
			Spec{Kind: Liveness, FailureThreshold: 3, Period: 100 * time.Millisecond},
			"", "sf", time.Minute,
			[]string{"0.300 failed"},
			[]string{"0", "0.100", "0.200", "0.300"},
		},
		{
			"a probe that takes its whole period begins the next at once, on schedule",
			Spec{Kind: Liveness, FailureThreshold: 4, Period: time.Second, Timeout: time.Second},
			"", "h", time.Minute,
			[]string{"4 failed"},
			[]string{"0", "1", "2", "3"},
		},
		{
			"a slow probe makes up for one missed tick and falls back into step",
			Spec{Kind: Liveness, FailureThreshold: 9, Period: time.Second, Timeout: 3500 * time.Millisecond},
			"", "hs", 6500 * time.Millisecond,
			nil,
			[]string{"0", "3.500", "4", "5", "6"},
		},
		{
			"a try that ignores its time fails in each period, and no other begins beside it",
			Spec{Kind: Liveness, FailureThreshold: 3, Period: 2 * time.Second, Timeout: time.Second},
			"", "x", time.Minute,
			[]string{"6 failed"}, // at 2 s (a second beyond its time), 4 s and 6 s
			[]string{"0"},
		},
		{
			"the late result of such a try is not counted again",
			Spec{Kind: Liveness, FailureThreshold: 6, Period: 2 * time.Second, Timeout: time.Second},
			"", "xf", time.Minute,
			[]string{"10 failed"}, // 2, 4, 6, 8 s late; at 10 s it returns, and the next fails at once, and at 12 s
			[]string{"0", "10"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(tt.answers)
				p := &Probe{Spec: tt.spec, Try: s.try, Initial: tt.initial, Started: time.Now()}
				got := watch(t, p, tt.length)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("verdicts: %s", diff)
				}
				if diff := cmp.Diff(tt.begun, s.begun); diff != "" {
					t.Errorf("tries: %s", diff)
				}
				if s.most != 1 {
					t.Errorf("%d tries at the same time", s.most)
				}
			})
		})
	}
}

func TestAnAdoptedProbeIsSpreadOverItsPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]bool{}
		for range 50 {
			s := newScript("s")
			watch(t, &Probe{Spec: Spec{Kind: Readiness, Period: time.Minute}, Try: s.try, Adopted: true, Started: time.Now().Add(-time.Hour)}, time.Minute+time.Second)
			if len(s.begun) == 0 || len(s.begun) > 2 {
				t.Fatalf("began at %v", s.begun)
			}
			seen[s.begun[0]] = true
		}
		if len(seen) < 25 {
			t.Errorf("50 probes began at only %d moments", len(seen))
		}
		s := newScript("s")
		watch(t, &Probe{
			Spec: Spec{Kind: Readiness, Period: 10 * time.Second, InitialDelay: time.Minute}, Try: s.try, Adopted: true,
			Started: time.Now().Add(-30 * time.Second),
		}, 35*time.Second)
		if diff := cmp.Diff([]string{"30"}, s.begun); diff != "" {
			t.Errorf("what is left of the initial delay: %s", diff)
		}
	})
}

func TestProbesThatBeginAtAnyTimeAreAskedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moments := map[int64]bool{}
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var mu sync.Mutex
		for range 200 {
			time.Sleep(4987 * time.Microsecond)
			n := 0
			p := &Probe{Spec: Spec{Kind: Readiness, Period: time.Second}, Started: time.Now(), Try: func(context.Context) Result {
				mu.Lock()
				defer mu.Unlock()
				if n++; n > 1 {
					moments[time.Now().UnixNano()%int64(time.Second)] = true
				}
				return Result{Outcome: Success}
			}}
			wg.Go(func() { p.Run(ctx) })
		}
		wg.Wait()
		if len(moments) != 20 {
			t.Errorf("200 probes were asked at %d moments of a second, want 20", len(moments))
		}
	})
}

func TestAGapRestartsTheCountOfFailures(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind Kind
		want []string
	}{
		// Failures at 0 and 1 s, then the machine sleeps for an hour.
		{"liveness is given the time of a start, then all its failures", Liveness, []string{"9 failed"}},
		{"readiness is asked at once, but needs all its failures", Readiness, []string{"4 failed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				p := &Probe{
					Spec: Spec{Kind: tt.kind, InitialDelay: 0, FailureThreshold: 3, Period: time.Second}, Initial: Success,
					Try: newScript("f").try, Started: start,
					slept: func() time.Duration {
						if time.Since(start) > 1500*time.Millisecond {
							return time.Hour
						}
						return 0
					},
				}
				if tt.kind == Liveness {
					p.Spec.InitialDelay = 5 * time.Second
					start = start.Add(5 * time.Second) // failures at 5 and 6 s, sleep at 6.5 s
					tt.want = []string{"14 failed"}    // noticed at 7 s, asked again from 12 s
				}
				got := watch(t, p, time.Minute)
				if len(got) == 0 || got[0] != tt.want[0] {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestATryThatAStoppedAgentLeftHangingDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := (&Probe{Spec: Spec{Kind: Liveness, FailureThreshold: 1, Period: time.Second}, Verdict: func(v Verdict) { t.Errorf("told %+v", v) }}).loop()
		// As after SIGSTOP for ten minutes in the middle of a try: the timer and the timed out result are there at once.
		begin := func() {
			l.done, l.cancel, l.begun, l.late = make(chan Result), func() {}, time.Now(), false
			l.due = l.begun.Add(l.Spec.Timeout + overtime)
			time.Sleep(10 * time.Minute)
		}
		begin()
		l.returned(t.Context(), Result{Failure, "timed out"}) // the result comes first
		begin()
		l.overdue() // the timer comes first
		l.returned(t.Context(), Result{Failure, "timed out"})
		if l.ended {
			t.Error("the probe ended")
		}
	})
}

func TestHooksAreToldEveryResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observed, trouble []string
		p := &Probe{
			Spec: Spec{Kind: Readiness, Period: time.Second}, Try: newScript("swfuuuhs").try, Started: time.Now(),
			Hooks: Hooks{
				Observe: func(kind, result string, took time.Duration) {
					observed = append(observed, kind+" "+result+" "+took.String())
				},
				Trouble: func(k Kind, r Result) {
					reason, message := r.Event(k)
					trouble = append(trouble, reason+": "+message)
				},
			},
		}
		watch(t, p, 5500*time.Millisecond)
		if diff := cmp.Diff([]string{
			"Readiness successful 0s", "Readiness successful 0s", "Readiness failed 0s", "Readiness unknown 0s",
			"Readiness failed 1s", "Readiness successful 0s",
		}, observed); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{
			"ProbeWarning: Readiness probe warning: moved",
			"Unhealthy: Readiness probe failed: down",
			"Unhealthy: Readiness probe errored and resulted in unknown state: engine away",
			"Unhealthy: Readiness probe failed: timed out",
		}, trouble); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAProbeThatIsStoppedTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Probe{Spec: Spec{Kind: Liveness, FailureThreshold: 1, Timeout: time.Minute}, Try: newScript("h").try, Started: time.Now()}
		begun := time.Now()
		if got := watch(t, p, 3*time.Second); got != nil || time.Since(begun) != 3*time.Second {
			t.Errorf("told %v, took %s", got, time.Since(begun))
		}
		l := (&Probe{Spec: p.Spec, Verdict: func(v Verdict) { t.Errorf("told %+v", v) }}).loop()
		l.done, l.cancel = make(chan Result), func() {}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		l.returned(ended, Result{Failure, "context canceled"})
	})
}

func TestSuspendedDoesNotMoveWhileTheMachineIsAwake(t *testing.T) {
	before := suspended()
	time.Sleep(10 * time.Millisecond)
	if d := suspended() - before; d.Abs() > time.Millisecond {
		t.Errorf("moved by %s", d)
	}
}
