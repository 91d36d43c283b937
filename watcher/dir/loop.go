package dir

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const (
	// minGap is the least time between two looks that events ask for; after a quiet time the first is answered at once.
	minGap = 5 * time.Millisecond
	// share bounds the work: a scan that took t is followed by a pause of share×t, so that a storm of events costs at
	// most 1/share of a core. maxGap bounds the pause.
	share  = 20
	maxGap = 500 * time.Millisecond
)

// loop looks at a directory whenever something may have changed.
type loop struct {
	scanner *scanner
	// poll is the time between looks where events do not work, rescan where they do.
	poll, rescan time.Duration
	log          zerolog.Logger
	// open makes a watcher; replaced in tests.
	open func() (*watches, error)

	// warned says that the loss of events was logged and is not over. Owner: the goroutine of run.
	warned bool
}

// run calls step with each listing until ctx ends; step returns when it wants the next one at the latest (zero: no wish).
func (l *loop) run(ctx context.Context, step func(listing, time.Time) time.Time) error {
	var notes *watches
	defer func() {
		if notes != nil {
			notes.close()
		}
	}()
	var touched batch
	took := maxGap
	for ctx.Err() == nil {
		var errOpen error
		if notes == nil {
			if notes, errOpen = l.open(); errOpen == nil {
				l.scanner.forgetWatches()
			}
		}
		begin := time.Now()
		lst, err := l.scanner.scan(begin, touched, notes)
		before := took
		took = time.Since(begin)
		l.warn(errors.Join(errOpen, err))
		wake := step(lst, begin)
		end := time.Now()
		// The cheaper of two looks counts, so that one that had to wait for a CPU or the disk does not delay the next.
		quiet := end.Add(min(max(share*min(took, before), minGap), maxGap))
		period := l.rescan
		// A mount is polled because fsnotify says nothing of its end.
		if l.warned || lst.blind || lst.unknown != nil || lst.place.mount {
			period = l.poll
		}
		wake = earliest(wake, end.Add(period))
		if !lst.retry.IsZero() {
			wake = earliest(wake, latest(lst.retry, quiet))
		}
		var lost bool
		if touched, lost = wait(ctx, notes, wake, quiet); lost {
			notes.close()
			notes = nil
		}
	}
	return nil
}

// wait returns when it is time to look again: at wake, or on an event but not before quiet. lost says that events are
// missing and the watcher is of no more use.
func wait(ctx context.Context, notes *watches, wake, quiet time.Time) (touched batch, lost bool) {
	timer := time.NewTimer(time.Until(wake))
	defer timer.Stop()
	if notes == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		return nil, false
	}
	touched = batch{}
	for len(touched) == 0 && !lost {
		select {
		case <-ctx.Done():
			return nil, false
		case <-timer.C:
			notes.drain(touched)
			return touched, false
		case <-notes.lost: //nolint:errcheck // that it was lost is all there is to know
			lost = true
		case ev, ok := <-notes.w.Events:
			if lost = !ok; ok && notes.note(ev) {
				touched.add(ev)
			}
		}
	}
	// Meanwhile events gather in the kernel, which coalesces them and drops what is too much: a storm costs nothing.
	if d := time.Until(quiet); d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	notes.drain(touched)
	return touched, lost
}

// warn logs once that events do not work, with what a person can do, and once when they do again.
func (l *loop) warn(err error) {
	switch {
	case err == nil && l.warned:
		l.log.Info().Str("dir", l.scanner.dir).Msg("file events work again")
	case err != nil && !l.warned:
		ev := l.log.Warn().Err(err).Str("dir", l.scanner.dir).Stringer("poll", l.poll)
		switch {
		case errors.Is(err, unix.EMFILE):
			ev = ev.Str("hint", "raise fs.inotify.max_user_instances (sysctl -w fs.inotify.max_user_instances=512) or the limit of open files")
		case errors.Is(err, unix.ENOSPC):
			ev = ev.Str("hint", "raise fs.inotify.max_user_watches (sysctl -w fs.inotify.max_user_watches=524288)")
		}
		ev.Msg("no file events, looking at the directory by the clock")
	}
	l.warned = err != nil
}
