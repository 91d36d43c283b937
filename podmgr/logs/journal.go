package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// journal keeps what was taken out of a stream's FIFO until it is in the log, so that an agent that is killed at any
// instruction loses nothing and writes nothing twice.
//
//	FIFO ──splice(2)──▶ journal ──lines──▶ log
//
// Splice moves bytes in one step that a signal does not cut in two: they are in the FIFO or in the journal, never in
// neither. Before each write to the log the journal's head says how long the log is, behind it how far the journal is
// done; an agent that finds a head without the latter counts what the log got. The file lies on a tmpfs, like the FIFO: a
// reboot ends both.
//
// Offsets of the stream only grow; what is done is punched out of the file, and a file of which all is done is emptied
// when the stream is silent. It belongs to the goroutine that copies the stream, begin and advance to the holder of
// Writer.mu.
type journal struct {
	path string
	file *os.File // nil until there is something to keep
	// size is how much of the stream was put in since the file was last empty, done how much of that is in the log,
	// punched how much was given back.
	size, done, punched int64
	// broken says that this filesystem cannot do it, or has no room: the stream goes without a journal.
	broken bool
}

// headSize is where the stream begins in the file: its pages are given back apart from the head's.
const headSize = 4096

// punchAfter is how much is done before it is given back.
const punchAfter = 1 << 20

// head is what the file begins with.
type head struct {
	Done int64
	// Before is the length of the log before a write that may have been cut off, plus one; 0: there was none.
	Before int64
	Inode  uint64 // of that log
}

// Keep has what is read of stream kept in a file at path, on a tmpfs, until it is in the log. It is called before the
// first Copy of any stream, and takes over what an agent that was killed left there.
func (w *Writer) Keep(stream, path string) error {
	j := &journal{path: path}
	if w.journals == nil {
		w.journals = map[string]*journal{}
	}
	w.journals[stream] = j
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening what was kept of %s: %w", stream, err)
	}
	j.file = f
	st, err := f.Stat()
	if err != nil || st.Size() < headSize {
		return j.empty()
	}
	var h head
	if err := j.readHead(&h); err != nil {
		return err
	}
	j.size = st.Size() - headSize
	if h.Before > 0 {
		h.Done += w.wrote(stream, h)
	}
	j.done = min(max(h.Done, 0), j.size)
	j.punched = j.done
	return j.writeHead(head{Done: j.done})
}

// wrote is how much of the stream a write to the log that was cut off has brought there.
func (w *Writer) wrote(stream string, h head) (n int64) {
	from := h.Before - 1
	if w.current.file == nil || w.current.inode != h.Inode || w.current.size <= from {
		return 0
	}
	data := make([]byte, w.current.size-from)
	if _, err := w.current.file.ReadAt(data, from); err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		p, err := parse(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil || string(p.stream) != stream {
			continue
		}
		n += int64(len(p.payload))
		if !p.partial {
			n++
		}
	}
	return n
}

// left is what is kept and not in the log.
func (j *journal) left(buf []byte) (int, error) {
	if j == nil || j.file == nil || j.done == j.size {
		return 0, nil
	}
	n := min(int64(len(buf)), j.size-j.done)
	if _, err := j.file.ReadAt(buf[:n], headSize+j.done); err != nil {
		return 0, fmt.Errorf("reading what was kept: %w", err)
	}
	return int(n), nil
}

// take moves what is in the FIFO, as far as there is room in buf, into the journal and reads it. An error of the FIFO is a
// bare errno, as that of read(2); errJournal says that nothing was moved and the FIFO is to be read without it.
func (j *journal) take(fifo int, buf []byte) (int, error) {
	if j.file == nil {
		f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			j.broken = true
			return 0, errJournal
		}
		j.file = f
	}
	to := headSize + j.size
	n, err := unix.Splice(fifo, nil, int(j.file.Fd()), &to, len(buf), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, err
	case err != nil:
		j.broken = true
		return 0, errJournal
	case n == 0:
		return 0, nil
	}
	if _, err := j.file.ReadAt(buf[:n], headSize+j.size); err != nil {
		j.broken = true
		return 0, fmt.Errorf("reading what was kept: %w", err)
	}
	j.size += n
	return int(n), nil
}

var errJournal = errors.New("nothing can be kept")

// begin notes that a write to the log follows.
func (j *journal) begin(log *current) {
	if j != nil && j.file != nil {
		_ = j.writeHead(head{Done: j.done, Before: log.size + 1, Inode: log.inode})
	}
}

// advance notes that n more bytes of the stream are in the log, or lost for good.
func (j *journal) advance(n int64) {
	if j == nil || j.file == nil {
		return
	}
	j.done = min(j.done+n, j.size)
	_ = j.writeHead(head{Done: j.done})
	if j.done-j.punched >= punchAfter {
		if unix.Fallocate(int(j.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, headSize+j.punched, j.done-j.punched) == nil {
			j.punched = j.done
		}
	}
}

// quiet gives the file's memory back when all of it is in the log.
func (j *journal) quiet() {
	if j != nil && j.file != nil && j.size > 0 && j.done == j.size {
		_ = j.empty()
	}
}

// empty forgets everything in one step.
func (j *journal) empty() error {
	if j.file == nil {
		return nil
	}
	if err := j.file.Truncate(0); err != nil {
		return fmt.Errorf("emptying what was kept: %w", err)
	}
	j.size, j.done, j.punched = 0, 0, 0
	return nil
}

// close lets go of the file; what is not in the log stays in it.
func (j *journal) close() {
	if j == nil || j.file == nil {
		return
	}
	j.quiet()
	_ = j.file.Close()
	j.file = nil
}

func (j *journal) readHead(h *head) error {
	b := make([]byte, binary.Size(head{}))
	if _, err := j.file.ReadAt(b, 0); err != nil {
		return fmt.Errorf("reading what was kept: %w", err)
	}
	_, err := binary.Decode(b, binary.LittleEndian, h)
	return err //nolint:wrapcheck // the sizes fit
}

func (j *journal) writeHead(h head) error {
	b := make([]byte, 0, binary.Size(head{}))
	b, err := binary.Append(b, binary.LittleEndian, h)
	if err != nil {
		return err //nolint:wrapcheck // its size is known
	}
	if _, err := j.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("noting what is in the log: %w", err)
	}
	return nil
}
