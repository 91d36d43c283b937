package containerd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStartThatHangsKeepsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Runtime{slots: make(chan struct{}, 1)}
		hung, err := r.slot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), slotLimit/2)
		defer cancel()
		if _, err := r.slot(short); err == nil {
			t.Error("a second start went on beside one that works")
		}
		began := time.Now()
		free, err := r.slot(t.Context())
		if err != nil || time.Since(began) > slotLimit {
			t.Fatalf("the next start waited %v: %v", time.Since(began), err)
		}
		hung() // at last; the place is the other's
		if len(r.slots) != 1 {
			t.Errorf("%d places are taken, want 1", len(r.slots))
		}
		free()
		free()
		if len(r.slots) != 0 {
			t.Errorf("%d places are taken, want 0", len(r.slots))
		}
	})
}
