package logs

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// lastWords is how long following waits, once the container has ended, for a writer that is still open: a process that
// the container left behind may hold its pipe.
const lastWords = 2 * time.Second

// follow prints what is written until the container has ended and everything is printed.
func (r *reader) follow(ctx context.Context, changed <-chan struct{}, alive func() bool) error {
	var late <-chan time.Time
	for {
		var wake <-chan struct{}
		if r.printer.o.Wake != nil {
			wake = r.printer.o.Wake()
		}
		// Asked before reading: what was written while it was alive is then on disk.
		ended := alive != nil && !alive()
		over := ended && !r.hub.written(r.topic)
		if ended && late == nil {
			timer := time.NewTimer(lastWords)
			defer timer.Stop()
			late = timer.C
		}
		if err := r.buffered(func() error { return r.catchUp(ctx) }); err != nil {
			return err
		}
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-wake:
		case <-late:
			return r.buffered(func() error { return r.catchUp(ctx) })
		}
	}
}

// buffered lends the reader the buffers that read and what is printed needs, large ones while there are some, and hands
// on at its end what was printed. Between two of them a file's unread rest lies in the file alone.
func (r *reader) buffered(read func() error) error {
	select {
	case r.hub.wides <- struct{}{}:
		w := r.hub.wide.Get().(*wide)
		defer func() { r.hub.wide.Put(w); <-r.hub.wides }()
		r.buf, r.printer.out, r.printer.flushAt = w.in[:], w.out[:0], wideSize
		defer func() { r.printer.out = nil }()
	default:
		small := r.hub.read.Get().(*[readSize]byte)
		defer r.hub.read.Put(small)
		r.buf, r.printer.flushAt = small[:], smallFlush
	}
	if r.scan != nil {
		r.scan.buf, r.scan.start, r.scan.end = r.buf, 0, 0
	}
	err := read()
	if err == nil || errors.Is(err, context.Canceled) {
		if ferr := r.printer.flush(); err == nil {
			err = ferr
		}
	}
	return err
}

// catchUp prints everything up to the end of the file that is current now.
func (r *reader) catchUp(ctx context.Context) error {
	for {
		if err := r.toEnd(ctx); err != nil {
			return err
		}
		if r.wasRotated() {
			// Nothing is written to the file any more, but something may have been since its end was seen.
			if err := r.toEnd(ctx); err != nil {
				return err
			}
			r.use(nil)
			r.gen++
			if name, ok := r.name(); ok {
				// It was rotated too before this reader came to it.
				if err := r.rotated(ctx, name, 0); err != nil {
					return err
				}
			}
			continue
		}
		if r.file != nil {
			return nil
		}
		if opened, err := r.reopen(); err != nil || !opened {
			return err
		}
	}
}

// wasRotated says whether the file being read is no longer the current one.
func (r *reader) wasRotated() bool {
	r.topic.rotation.Lock()
	defer r.topic.rotation.Unlock()
	return r.topic.gen > r.gen
}

// name returns the name of the file that is to be read next when it is a rotated one.
func (r *reader) name() (string, bool) {
	r.topic.rotation.Lock()
	defer r.topic.rotation.Unlock()
	return r.topic.name(r.gen)
}

// reopen opens the current file and says whether there is something to read: not while the disk is too full to create it.
func (r *reader) reopen() (bool, error) {
	r.topic.rotation.Lock()
	defer r.topic.rotation.Unlock()
	if r.topic.gen != r.gen {
		return true, nil // rotated once more: go round
	}
	f, err := openIn(r.dir, r.base, unix.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.use(f)
	return true, nil
}
