package logs

import (
	"context"
	"io"
	"sync"
)

// tapBuffer is how much of what a container prints waits for somebody who watches it live. More is left out: nobody who
// watches makes the container wait.
const tapBuffer = 1 << 20

// skipped stands in a live output for what was left out.
const skipped = "\r\n[agent: output came faster than it was read, some is left out]\r\n"

// Tap is a live view of one stream: the bytes as the container prints them, unfinished lines included.
type Tap struct {
	w      *Writer
	stream string

	mu     sync.Mutex // guards all below
	wait   []byte
	lost   bool
	ended  bool
	signal chan struct{} // cap 1
}

// Tap begins a live view of stream; Close ends it.
func (w *Writer) Tap(stream string) *Tap {
	t := &Tap{w: w, stream: stream, signal: make(chan struct{}, 1)}
	w.tapping.Lock()
	defer w.tapping.Unlock()
	if w.over[stream] {
		t.ended = true
	}
	old := w.taps.Load()
	next := &[]*Tap{t}
	if old != nil {
		*next = append(*next, *old...)
	}
	w.taps.Store(next)
	return t
}

// Close ends the view.
func (t *Tap) Close() {
	t.w.tapping.Lock()
	defer t.w.tapping.Unlock()
	var rest []*Tap
	if old := t.w.taps.Load(); old != nil {
		for _, o := range *old {
			if o != t {
				rest = append(rest, o)
			}
		}
	}
	if len(rest) == 0 {
		t.w.taps.Store(nil)
		return
	}
	t.w.taps.Store(&rest)
}

// Copy passes on to out what is printed from when the Tap was made, until the stream has ended (nil), out fails or ctx
// ends.
func (t *Tap) Copy(ctx context.Context, out io.Writer) error {
	for {
		t.mu.Lock()
		data, lost, ended := t.wait, t.lost, t.ended
		t.wait, t.lost = nil, false
		t.mu.Unlock()
		if len(data) > 0 {
			if _, err := out.Write(data); err != nil {
				return err //nolint:wrapcheck // it is the caller's own
			}
		}
		if lost {
			if _, err := io.WriteString(out, skipped); err != nil {
				return err //nolint:wrapcheck // it is the caller's own
			}
		}
		switch {
		case len(data) > 0 || lost:
		case ended:
			return nil
		default:
			select {
			case <-t.signal:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// show gives the taps of a stream what was read; without taps that costs one load.
func (w *Writer) show(stream string, data []byte) {
	taps := w.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if t.stream != stream {
			continue
		}
		t.mu.Lock()
		if room := tapBuffer - len(t.wait); len(data) <= room {
			t.wait = append(t.wait, data...)
		} else {
			t.lost = true
		}
		t.mu.Unlock()
		t.poke()
	}
}

// endTaps tells those who watch a stream that it has ended.
func (w *Writer) endTaps(stream string) {
	w.tapping.Lock()
	defer w.tapping.Unlock()
	if w.over == nil {
		w.over = map[string]bool{}
	}
	w.over[stream] = true
	taps := w.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if t.stream == stream {
			t.mu.Lock()
			t.ended = true
			t.mu.Unlock()
			t.poke()
		}
	}
}

func (t *Tap) poke() {
	select {
	case t.signal <- struct{}{}:
	default:
	}
}
