package dir

import (
	"context"
	"errors"
	"sync"
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
	// inotify makes an instance; replaced in tests.
	inotify func() (*inotify, error)

	// warned says that the loss of events was logged and is not over. Owner: the goroutine of run.
	warned bool
}

// eye is the inotify instance in use with the goroutine that reads it.
type eye struct {
	notes   *inotify
	batches chan batch
	stop    chan struct{}
	reader  sync.WaitGroup
}

func openEye(make_ func() (*inotify, error)) (*eye, error) {
	notes, err := make_()
	if err != nil {
		return nil, err
	}
	e := &eye{notes: notes, batches: make(chan batch), stop: make(chan struct{})}
	e.reader.Go(func() { notes.read(e.batches, e.stop) })
	return e, nil
}

func (e *eye) close() {
	close(e.stop)
	e.notes.close()
	e.reader.Wait()
}

// run calls step with each listing until ctx ends; step returns when it wants the next one at the latest (zero: no wish).
func (l *loop) run(ctx context.Context, step func(listing, time.Time) time.Time) error {
	var e *eye
	defer func() {
		if e != nil {
			e.close()
		}
	}()
	touched := batch{}
	for ctx.Err() == nil {
		var errEye error
		if e == nil {
			if e, errEye = openEye(l.inotify); errEye == nil {
				l.scanner.forgetWatches()
			}
		}
		begin := time.Now()
		var notes *inotify
		if e != nil {
			notes = e.notes
		}
		lst, err := l.scanner.scan(begin, touched, notes)
		took := time.Since(begin)
		l.warn(errors.Join(errEye, err))
		wake := step(lst, begin)
		end := time.Now()
		period := l.rescan
		if l.warned || lst.blind || lst.unknown != nil {
			period = l.poll
		}
		wake = earliest(earliest(wake, lst.retry), end.Add(period))
		quiet := end.Add(min(max(share*took, minGap), maxGap))
		var lost bool
		if touched, lost = wait(ctx, e, l.scanner, wake, quiet); lost {
			e.close()
			e = nil
		}
	}
	return nil
}

// wait returns when it is time to look again: at wake, or on an event but not before quiet. lost says that the instance
// is of no more use.
func wait(ctx context.Context, e *eye, s *scanner, wake, quiet time.Time) (touched batch, lost bool) {
	touched = batch{}
	var batches chan batch
	if e != nil {
		batches = e.batches
	}
	timer := time.NewTimer(time.Until(wake))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return touched, false
		case <-timer.C:
			return touched, false
		case b, ok := <-batches:
			if !ok {
				return touched, true
			}
			if !e.notes.matters(b, s.dirWD) {
				continue
			}
			touched.add(b)
			if d := time.Until(quiet); d > 0 {
				select {
				case <-ctx.Done():
				case <-time.After(d):
				}
			}
			for drained := false; !drained; {
				select {
				case b, ok := <-batches:
					if !ok {
						return touched, true
					}
					touched.add(b)
				default:
					drained = true
				}
			}
			return touched, false
		}
	}
}

// add merges a later batch. After lost events nothing is known to have been moved into place.
func (b batch) add(later batch) {
	for t, moved := range later {
		b[t] = moved
	}
	if _, ok := b[overflow]; ok {
		clear(b)
		b[overflow] = false
	}
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
