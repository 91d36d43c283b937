package health

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuietActsOnceAfterEachTimeOfWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		change := make(chan struct{})
		done := make(chan error)
		var times atomic.Int32
		go func() {
			done <- Quiet(ctx, func() <-chan struct{} { return change }, 10*time.Second, func() { times.Add(1) })
		}()
		for range 3 { // work: a change every five seconds
			change <- struct{}{}
			time.Sleep(5 * time.Second)
		}
		if n := times.Load(); n != 0 {
			t.Errorf("acted %d times amid the work", n)
		}
		time.Sleep(time.Hour)
		if n := times.Load(); n != 1 {
			t.Errorf("acted %d times after the work, want once", n)
		}
		change <- struct{}{}
		time.Sleep(time.Hour)
		if n := times.Load(); n != 2 {
			t.Errorf("acted %d times after more work, want twice", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
