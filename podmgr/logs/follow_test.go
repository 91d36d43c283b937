package logs

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stalled is a follower who takes nothing before it is let go.
type stalled struct {
	got     shared
	blocked chan struct{}
	release chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	select {
	case s.blocked <- struct{}{}:
	default:
	}
	<-s.release
	return s.got.Write(p)
}

// TestFollowersThatAreTooSlowAreToldWhatTheyMissed: more of them than may have large buffers.
func TestFollowersThatAreTooSlowAreToldWhatTheyMissed(t *testing.T) {
	w, path := newWriter(t, Options{MaxSize: 20 << 10, MaxFiles: 3})
	const lines, followers = 5000, maxWide + 4
	var alive atomic.Bool
	alive.Store(true)
	w.write(Stdout, []byte(numbered(0, 10)), false)
	release := make(chan struct{})
	all := make([]*stalled, followers)
	done := make(chan error, followers)
	for i := range all {
		s := &stalled{blocked: make(chan struct{}, 1), release: release}
		all[i] = s
		go func() { done <- w.hub.Read(t.Context(), s, path, ReadOptions{Follow: true}, alive.Load) }()
		<-s.blocked
	}
	for i := 10; i < lines; i++ {
		w.write(Stdout, []byte(numbered(i, i+1)), false)
	}
	close(release)
	alive.Store(false)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for range all {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i, s := range all {
		before, after, said := strings.Cut(s.got.String(), missing+"\n")
		if !said {
			t.Errorf("follower %d is not told that output is missing", i)
			continue
		}
		have, lost := strings.Count(before, "\n"), lines-strings.Count(after, "\n")
		if d := cmp.Diff(numbered(0, have)+numbered(lost, lines), before+after); d != "" || have < 10 || lost <= have {
			t.Errorf("follower %d saw the first %d and the last %d lines: %s", i, have, lines-lost, d)
		}
	}
}

func TestALogOfWhichTheBeginningIsGoneHasNoGap(t *testing.T) {
	w, path := newWriter(t, Options{MaxSize: 20 << 10, MaxFiles: 3})
	for i := range 5000 {
		w.write(Stdout, []byte(numbered(i, i+1)), false)
	}
	got := printed(t, w.hub, path, ReadOptions{})
	if n := strings.Count(got, "\n"); n < 100 || got != numbered(5000-n, 5000) {
		t.Errorf("%d lines came, beginning with %.20q", n, got)
	}
}
