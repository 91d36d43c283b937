package health

import "time"

// Kind is what a probe is for; the values are the kubelet's labels.
type Kind string

const (
	// Startup probes until the container has started; the others wait for it. Failing kills the container.
	Startup Kind = "Startup"
	// Liveness kills the container when it fails.
	Liveness Kind = "Liveness"
	// Readiness turns readiness on and off.
	Readiness Kind = "Readiness"
)

// initial is the outcome presumed until thresholds are first reached, as the kubelet's worker has it.
func (k Kind) initial() Outcome {
	switch k {
	case Liveness:
		return Success
	case Readiness:
		return Failure
	default:
		return Unknown
	}
}

// Spec is when to probe and how to count.
type Spec struct {
	Kind Kind
	// InitialDelay counts from the container's start.
	InitialDelay time.Duration
	// Period is the time between the beginnings of two probes; less than a second is fine.
	Period time.Duration
	// Timeout bounds one probe with its retries.
	Timeout time.Duration
	// SuccessThreshold and FailureThreshold are how many equal results in a row make a verdict.
	SuccessThreshold int
	FailureThreshold int
}

// withDefaults fills in what the API server would.
func (s Spec) withDefaults() Spec {
	if s.Period <= 0 {
		s.Period = 10 * time.Second
	}
	s.Period = max(s.Period, minPeriod)
	if s.Timeout <= 0 {
		s.Timeout = time.Second
	}
	if s.SuccessThreshold < 1 {
		s.SuccessThreshold = 1
	}
	if s.FailureThreshold < 1 {
		s.FailureThreshold = 3
	}
	return s
}

// gap is how late a timer may be before we take it that not the container but we were away: two periods, and at least
// two seconds, which a crowded machine can cost.
func (s Spec) gap() time.Duration { return max(2*s.Period, 2*time.Second) }

// align moves t up to the next of the moments at which probes of all containers are asked together, less than a twentieth
// of the period later. A processor that wakes for each probe alone spends more on waking than on asking: 200 probes a
// second cost 3.6 % of a core before they had asked anything.
func (s Spec) align(t time.Time) time.Time {
	slot := min(s.Period/20, 50*time.Millisecond)
	if past := time.Duration(t.UnixNano()) % slot; past > 0 {
		return t.Add(slot - past)
	}
	return t
}

// window counts equal results in a row.
type window struct {
	passed bool
	run    int
}

// add counts r and says whether it is decided: so many in a row that they make a verdict. Unknown counts neither way.
func (w *window) add(s Spec, r Result) (decided bool) {
	if r.Outcome == Unknown {
		return false
	}
	if w.run > 0 && w.passed == r.passed() {
		w.run++
	} else {
		w.passed, w.run = r.passed(), 1
	}
	if w.passed {
		return w.run >= s.SuccessThreshold
	}
	return w.run >= s.FailureThreshold
}
