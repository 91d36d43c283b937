package health

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// maxMessage bounds what a workload can make us keep: 10 KiB, as the kubelet reads of bodies and outputs.
const maxMessage = 10 << 10

// Outcome is what one try came to, in the words of the kubelet's pkg/probe.
type Outcome string

const (
	// Success is an answer that counts for the container.
	Success Outcome = "success"
	// Warning counts as Success, but a person should know: a redirect that was not followed.
	Warning Outcome = "warning"
	// Failure is an answer, or a silence, that counts against the container.
	Failure Outcome = "failure"
	// Unknown says that the question could not be asked (a prober error). It counts neither way.
	Unknown Outcome = "unknown"
)

// Metric is the outcome as the label result of the kubelet's prober_probe_total.
func (o Outcome) Metric() string {
	switch o {
	case Success, Warning:
		return "successful"
	case Failure:
		return "failed"
	default:
		return "unknown"
	}
}

// Result is the end of one try.
type Result struct {
	Outcome Outcome
	// Message says why, in the kubelet's words, at most 10 KiB; empty for plain success.
	Message string
}

// passed says whether the result counts as a success.
func (r Result) passed() bool { return r.Outcome == Success || r.Outcome == Warning }

// Event is the result as the kubelet's event on the container, all of them warnings; reason is empty for Success.
func (r Result) Event(kind Kind) (reason, message string) {
	switch r.Outcome {
	case Warning:
		return "ProbeWarning", string(kind) + " probe warning: " + r.Message
	case Failure:
		return "Unhealthy", string(kind) + " probe failed: " + r.Message
	case Unknown:
		return "Unhealthy", string(kind) + " probe errored and resulted in unknown state: " + r.Message
	default:
		return "", ""
	}
}

// result makes a Result whose message is bounded and printable as UTF-8.
func result(o Outcome, message string) Result {
	if len(message) > maxMessage {
		end := maxMessage
		for end > maxMessage-utf8.UTFMax && !utf8.RuneStart(message[end]) {
			end--
		}
		message = strings.Clone(message[:end]) // do not keep the rest alive
	}
	return Result{o, strings.ToValidUTF8(message, "\uFFFD")}
}

// Try asks once. It ends with ctx, whose deadline is the probe's timeout, and returns soon after; it is not called again
// while it runs.
type Try func(ctx context.Context) Result

// Check makes a check of the agent of a try: anything that does not pass is an error.
func (t Try) Check() Check {
	return func(ctx context.Context) error {
		if r := t(ctx); !r.passed() {
			return errors.New(r.Message)
		}
		return nil
	}
}

// timeLeft is the time until ctx's deadline, rounded for people: the timeout that a try was given.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return time.Until(deadline).Round(10 * time.Millisecond)
}
