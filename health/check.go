package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Check says whether something is well: nil, or why not. It returns soon after ctx ends.
type Check func(ctx context.Context) error

// Named is a check of a part of the agent, as /healthz lists them.
type Named struct {
	Name  string
	Check Check
}

// All runs checks side by side, each for at most limit, and joins what is wrong, in the order of the checks.
func All(ctx context.Context, limit time.Duration, checks ...Named) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			if err := c.Check(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", c.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Beat is the pulse of a loop: the loop calls Now on every turn, and Check fails when the last one is too long ago.
type Beat struct {
	limit time.Duration

	mu   sync.Mutex
	last time.Time // guarded by mu; monotonic
}

// NewBeat returns the pulse of a loop whose turns are at most limit apart.
func NewBeat(limit time.Duration) *Beat { return &Beat{limit: limit, last: time.Now()} }

// Now says that the loop is alive.
func (b *Beat) Now() {
	b.mu.Lock()
	b.last = time.Now()
	b.mu.Unlock()
}

// Check implements Check.
func (b *Beat) Check(context.Context) error {
	b.mu.Lock()
	since := time.Since(b.last)
	b.mu.Unlock()
	if since > b.limit {
		return fmt.Errorf("no sign of life for %s", since.Round(time.Second))
	}
	return nil
}

// Watchdog calls pet every interval as long as check passes, until ctx ends. A supervisor (systemd's WatchdogSec) that
// is no longer petted restarts the agent.
func Watchdog(ctx context.Context, interval time.Duration, check Check, pet func() error) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		if check(ctx) == nil {
			if err := pet(); err != nil {
				return fmt.Errorf("petting the watchdog: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
