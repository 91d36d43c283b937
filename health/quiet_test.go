package health

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuietActsOnceAfterEachTimeOfWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		change := make(chan struct{})
		done := make(chan error)
		times := 0
		go func() {
			done <- Quiet(ctx, func() <-chan struct{} { return change }, 10*time.Second, func() { times++ })
		}()
		for range 3 { // work: a change every five seconds
			change <- struct{}{}
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		if times != 0 {
			t.Errorf("acted %d times amid the work", times)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if times != 1 {
			t.Errorf("acted %d times after the work, want once", times)
		}
		change <- struct{}{}
		time.Sleep(time.Hour)
		synctest.Wait()
		if times != 2 {
			t.Errorf("acted %d times after more work, want twice", times)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
