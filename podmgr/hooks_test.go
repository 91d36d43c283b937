package podmgr_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/fake"
	v1 "k8s.io/api/core/v1"
)

// counts collects what hooks are told.
type counts struct {
	mu   sync.Mutex
	seen map[string]int // guarded by mu
}

func (c *counts) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[what]++
}

func (c *counts) of(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[what]
}

func (c *counts) hooks() podmgr.Hooks {
	failed := func(what string, err error) {
		if err != nil {
			what += " failed"
		}
		c.add(what)
	}
	return podmgr.Hooks{
		Operated:    func(operation string, _ time.Duration, err error) { failed(operation, err) },
		Pulled:      func(_ int64, _ time.Duration, err error) { failed("pull", err) },
		StartFailed: func(kind, reason string) { c.add(kind + " " + reason) },
		Waited:      func(time.Duration) { c.add("waited") },
		Worked:      func(operation string, _ time.Duration) { c.add("worked " + operation) },
	}
}

func TestHooksAreToldWhatTheRuntimeDoes(t *testing.T) {
	var c counts
	inWorld(t, func(w *world) {
		w.hooks = c.hooks()
		w.rt.Step = func(_ context.Context, call fake.Call, _ fake.Stage) error {
			if call.Verb == "Start" && c.of("start_container failed") == 0 {
				return &podmgr.ReasonError{Reason: "RunContainerError", Err: errors.New("no")}
			}
			return nil
		}
	}, func(w *world) {
		w.dir.wants(makePod(web, "v1", v1.RestartPolicyAlways, loop))
		w.after(time.Minute)
		w.dir.wants()
		w.after(2 * time.Minute)
	})
	for _, what := range []string{
		"pull", "run_podsandbox", "start_container", "start_container failed", "container RunContainerError", "podsandbox_status",
		"stop_container", "remove_container", "stop_podsandbox", "remove_podsandbox", "list_podsandbox",
		"waited", "worked create", "worked sync", "worked terminate",
	} {
		if c.of(what) == 0 {
			t.Errorf("nobody was told of %q: %v", what, c.seen)
		}
	}
	if got := c.of("waited"); got != 1 {
		t.Errorf("one pod waited %d times for its worker", got)
	}
}
