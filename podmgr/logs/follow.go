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
		if err := r.catchUp(ctx); err != nil {
			return err
		}
		if err := r.printer.flush(); err != nil {
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
			if err := r.catchUp(ctx); err != nil {
				return err
			}
			return nil
		}
	}
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
