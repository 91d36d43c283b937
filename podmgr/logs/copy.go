package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipeSize is what the pipes of containers are enlarged to: what an application may print while the agent restarts.
const pipeSize = 1 << 20

// OpenFIFO makes the FIFO at path exist, 1 MiB large, and opens it for Copy. A FIFO that nobody has opened for writing
// looks ended, so hold keeps it open: close hold once the container's shim has opened its end, and read then ends when
// the last writer is gone. It never blocks.
func OpenFIFO(path string) (read, hold *os.File, err error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	read, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	hold, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		_ = read.Close()
		return nil, nil, err
	}
	if raw, err := read.SyscallConn(); err == nil {
		// Without CAP_SYS_RESOURCE the limit is lower; a smaller pipe is no reason to fail.
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	return read, hold, nil
}

// Copy writes what r delivers as lines of stream (Stdout or Stderr) until r ends, and returns nil then. When ctx ends
// first it writes what already is in the pipe and returns ctx's error; a line cut off there is continued by the next
// Copy, of this process or of the next. It does not close r.
//
// r should be an *os.File opened with O_NONBLOCK, as OpenFIFO does: only then does an idle stream cost neither a thread
// nor a buffer, and can ctx interrupt it.
func (w *Writer) Copy(ctx context.Context, stream string, r io.Reader) error {
	if stream != Stdout && stream != Stderr {
		return fmt.Errorf("copying stream %q: it is neither %s nor %s", stream, Stdout, Stderr)
	}
	s := &source{w: w, stream: stream, journal: w.journals[stream]}
	defer s.journal.close()
	defer w.endTaps(stream)
	f, ok := r.(interface {
		syscall.Conn
		SetReadDeadline(time.Time) error
	})
	if !ok || f.SetReadDeadline(time.Time{}) != nil {
		return s.copyPlain(ctx, r)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return s.copyPlain(ctx, r)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = f.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-interrupted // or it would interrupt the next Copy of r
		}
	}()
	s.resume()
	return s.copyPolled(ctx, raw)
}

// resume writes what the journal of an agent that was killed holds.
func (s *source) resume() {
	array := s.w.hub.in.Get().(*[inSize]byte)
	defer s.w.hub.in.Put(array)
	if n, err := s.journal.left(array[:]); err == nil && n > 0 {
		s.take(array[:n], 0)
	}
}

// source is one stream being copied; its fields belong to the goroutine in Copy.
type source struct {
	w      *Writer
	stream string
	// journal is where what is read lies until it is in the log; nil: nowhere.
	journal *journal
	rest    []byte // the incomplete line at the end of what was read, at most maxLine
}

// copyPolled waits for data without a buffer and takes one from the pool while there is some.
func (s *source) copyPolled(ctx context.Context, raw syscall.RawConn) error {
	for {
		var n int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			n, readErr = s.once(fd)
			return !errors.Is(readErr, unix.EAGAIN)
		})
		switch {
		case err != nil && ctx.Err() != nil:
			s.drain(raw)
			s.end()
			return ctx.Err()
		case err != nil:
			s.end()
			return fmt.Errorf("waiting for %s: %w", s.stream, err)
		case readErr != nil:
			s.end()
			return fmt.Errorf("reading %s: %w", s.stream, readErr)
		case n == 0:
			s.end()
			return nil
		}
	}
}

// once does one read(2) and writes the lines that it completed.
func (s *source) once(fd uintptr) (int, error) {
	array := s.w.hub.in.Get().(*[inSize]byte)
	defer s.w.hub.in.Put(array)
	head := copy(array[:], s.rest)
	for {
		n, err := s.read(int(fd), array[head:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			s.journal.quiet()
		}
		if n > 0 {
			s.w.show(s.stream, array[head:head+n])
			s.take(array[:head+n], head)
		}
		return n, err
	}
}

// read reads from the FIFO, by way of the journal where there is one.
func (s *source) read(fd int, buf []byte) (int, error) {
	if s.journal != nil && !s.journal.broken {
		n, err := s.journal.take(fd, buf)
		if !errors.Is(err, errJournal) {
			return n, err
		}
		// What it holds is in rest too, and goes on from there.
		_ = s.journal.empty()
	}
	return unix.Read(fd, buf)
}

// take writes the complete lines of data and keeps the rest. The first old bytes of data are what s.rest holds.
func (s *source) take(data []byte, old int) {
	used := s.w.write(s.stream, data, false)
	switch {
	case used == len(data):
		s.rest = nil
	case used == 0:
		s.rest = append(s.rest, data[old:]...)
	default:
		s.rest = append([]byte(nil), data[used:]...)
	}
}

// drain writes what is in the pipe now; a writer that never stops cannot hold it longer than one pipe's worth.
func (s *source) drain(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		for total := 0; total < pipeSize; {
			n, err := s.once(fd)
			if n <= 0 || err != nil {
				return
			}
			total += n
		}
	})
}

// end writes the incomplete line, as a part: nobody has ended it, and another Copy may go on with it.
func (s *source) end() {
	if len(s.rest) > 0 {
		s.w.write(s.stream, s.rest, true)
		s.rest = nil
	}
}

// copyPlain copies from a reader that cannot be polled; ctx is seen between reads.
func (s *source) copyPlain(ctx context.Context, r io.Reader) error {
	array := s.w.hub.in.Get().(*[inSize]byte)
	defer s.w.hub.in.Put(array)
	for {
		if err := ctx.Err(); err != nil {
			s.end()
			return err
		}
		head := copy(array[:], s.rest)
		n, err := r.Read(array[head:])
		if n > 0 {
			s.w.show(s.stream, array[head:head+n])
			s.take(array[:head+n], head)
		}
		switch {
		case errors.Is(err, io.EOF):
			s.end()
			return nil
		case err != nil:
			s.end()
			return fmt.Errorf("reading %s: %w", s.stream, err)
		}
	}
}
