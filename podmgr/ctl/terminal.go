package ctl

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// terminalOf is the terminal that r or w is, or nil.
func terminalOf(rw any) *os.File {
	f, ok := rw.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// rawMode hands every key of the terminal in to whom reads it, ^C included, until restore is called.
func rawMode(in *os.File) (restore func(), err error) {
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(in.Fd()), old) }, nil
}

// windowSizes sends the size of a terminal now and whenever it changes, until ctx ends.
func windowSizes(ctx context.Context, f *os.File) <-chan windowSize {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	out := make(chan windowSize, 1)
	go func() {
		defer close(out)
		defer signal.Stop(changed)
		for {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil {
				select {
				case out <- windowSize{uint16(w), uint16(h)}: //nolint:gosec // a terminal's fit
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// withTerminal runs a command with the user's terminal in raw mode.
func withTerminal(ctx context.Context, in, out *os.File, run func(ctx context.Context, sizes <-chan windowSize) error) error {
	restore, err := rawMode(in)
	if err != nil {
		return err
	}
	defer restore()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sizes <-chan windowSize
	if out != nil {
		sizes = windowSizes(ctx, out)
	}
	return run(ctx, sizes)
}

// reader is r, or nil when it is not wanted.
func reader(r io.Reader, wanted bool) io.Reader {
	if !wanted {
		return nil
	}
	return r
}
