package metrics

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestTheEngineIsAskedForImagesOnceAMinute, and again at once after an error.
func TestTheEngineIsAskedForImagesOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, fail := 0, errors.New("the engine is busy")
		c := imageCache{ask: func(context.Context) (Images, error) { asked++; return Images{Count: asked}, fail }}
		if _, err := c.sum(t.Context()); !errors.Is(err, fail) {
			t.Fatalf("the error is %v", err)
		}
		fail = nil
		for _, step := range []struct {
			wait time.Duration
			want int
		}{{0, 2}, {imagesMaxAge - 1, 2}, {1, 3}} {
			time.Sleep(step.wait)
			if have, err := c.sum(t.Context()); err != nil || have.Count != step.want {
				t.Errorf("after %s: answer %d, want %d: %v", step.wait, have.Count, step.want, err)
			}
		}
	})
}
