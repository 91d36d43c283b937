package health

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAllNamesWhatIsWrongAndIsNotHeldUpByAHungCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		err := All(t.Context(), time.Second,
			Named{"fine", func(context.Context) error { return nil }},
			Named{"broken", func(context.Context) error { return errors.New("out of order") }},
			Named{"hung", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		if got := time.Since(begun); got != time.Second {
			t.Errorf("took %s, want 1s", got)
		}
		if err == nil || !strings.Contains(err.Error(), "broken: out of order") || !strings.Contains(err.Error(), "hung: ") || strings.Contains(err.Error(), "fine") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestABeatFailsWhenItsLoopStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBeat(time.Minute)
		time.Sleep(50 * time.Second)
		b.Now()
		time.Sleep(50 * time.Second)
		if err := b.Check(t.Context()); err != nil {
			t.Errorf("a loop that turned 50 s ago: %v", err)
		}
		time.Sleep(11 * time.Second)
		if err := b.Check(t.Context()); err == nil {
			t.Error("a loop that turned 61 s ago passes")
		}
	})
}

func TestTheWatchdogIsPettedOnlyWhileTheCheckPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		begun, pets := time.Now(), 0
		err := Watchdog(ctx, time.Second, func(context.Context) error {
			if time.Since(begun) >= 5*time.Second {
				return errors.New("sick")
			}
			return nil
		}, func() error { pets++; return nil })
		if err != nil || pets != 5 {
			t.Errorf("pets = %d, err = %v; want 5, nil", pets, err)
		}
	})
}
