package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options bound a Writer.
type Options struct {
	// MaxSize is the size in bytes at which a file is rotated; 0 means 10 MiB.
	MaxSize int64
	// MaxFiles is how many files are kept, the current one included; 0 means 5.
	MaxFiles int
	// Hub is told of every write; nil means that nobody follows.
	Hub *Hub
}

// The kubelet's containerLogMaxSize and containerLogMaxFiles.
const (
	defaultMaxSize  = 10 << 20
	defaultMaxFiles = 5
)

// Writer writes the log of one container instance. Its methods may be called at the same time.
type Writer struct {
	path     string
	maxSize  int64
	maxFiles int
	chunk    int // the most that one write(2) carries
	hub      *Hub
	topic    *topic

	journals map[string]*journal // by stream; written before the first Copy

	taps    atomic.Pointer[[]*Tap] // who watches live; nil: nobody
	tapping sync.Mutex             // guards over and changes of taps
	over    map[string]bool        // streams that have ended

	ending     chan struct{} // closed by Close: ends the compression in the background
	background sync.WaitGroup

	// mu brings the batches of both streams into one order; it is held over the write because that order is the point.
	mu      sync.Mutex
	current current // guarded by mu
	lost    lost    // guarded by mu
	closed  bool    // guarded by mu
}

// current is the file being written.
type current struct {
	file  *os.File // nil while it cannot be opened
	size  int64
	inode uint64
	stamp string    // of the newest rotated file; the next one is later, whatever the clock says
	began time.Time // when it was opened
}

// lost is what could not be written since the last write that could.
type lost struct {
	lines int64
	cause error
}

// NewWriter opens the log file at path, which lies under the hub's root, and makes it exist, so that the log of a silent
// container is empty rather than missing. An existing file is continued; a line that was cut off by a crash is removed
// from its end. A disk that is full or broken is no error: the Writer drops lines until it works.
func NewWriter(path string, o Options) (*Writer, error) {
	w := &Writer{path: path, maxSize: o.MaxSize, maxFiles: o.MaxFiles, hub: o.Hub, ending: make(chan struct{})}
	if w.maxSize <= 0 {
		w.maxSize = defaultMaxSize
	}
	if w.maxFiles <= 0 {
		w.maxFiles = defaultMaxFiles
	}
	if w.hub == nil {
		w.hub = NewHub(filepath.Dir(path))
	}
	// One write may overshoot nothing, so it is small beside the file; it always has room for one longest line.
	w.chunk = int(min(outSize, max(w.maxSize/16, int64(maxHeader+maxLine+1))))
	w.topic = w.hub.topic(path, true)
	if err := w.open(); err != nil && !diskFault(err) {
		w.hub.release(path, w.topic, true)
		return nil, err
	}
	w.tidy()
	return w, nil
}

// diskFault says whether err may pass by itself when the disk gets room or is mended.
func diskFault(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// open opens the file for appending and makes its directory.
func (w *Writer) open() error {
	if err := os.MkdirAll(filepath.Dir(w.path), 0o755); err != nil {
		return fmt.Errorf("creating log directory: %w", err)
	}
	dir, err := openDir(w.hub.root, w.path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	f, err := openIn(dir, filepath.Base(w.path), unix.O_RDWR|unix.O_APPEND|unix.O_CREAT, 0o640)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	size, err := mend(f)
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("mending log %q: %w", w.path, err)
	}
	w.current.file, w.current.size, w.current.inode, w.current.began = f, size, inode(f), time.Now()
	return nil
}

// inode tells a file from another that has its name later; 0 when it is not known.
func inode(f *os.File) uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}

// mend cuts a torn last line off f and returns the size that is left.
func mend(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return 0, err
	}
	size := st.Size()
	tail := make([]byte, 1)
	if _, err := f.ReadAt(tail, size-1); err != nil {
		return 0, err
	}
	if tail[0] == '\n' {
		return size, nil
	}
	tail = make([]byte, min(size, int64(2*(maxHeader+maxLine))))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(tail, '\n')
	if i < 0 && int64(len(tail)) < size {
		// Not written by us: end the line rather than cut an unknown file.
		n, err := f.Write([]byte{'\n'})
		return size + int64(n), err
	}
	size -= int64(len(tail) - i - 1)
	return size, f.Truncate(size)
}

// Close ends compression, reports lines that are still dropped if it can, and closes the file. Call it when every Copy
// has returned; what is written later is dropped.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	_ = w.report()
	w.closed = true
	close(w.ending)
	w.mu.Unlock()
	w.background.Wait()
	w.mu.Lock()
	var err error
	if w.current.file != nil {
		err = w.current.file.Close()
		w.current.file = nil
	}
	w.mu.Unlock()
	w.hub.release(w.path, w.topic, true)
	return err
}

// write writes the complete lines in data and returns how many bytes it used. With last set, the incomplete line at the
// end is written too, as a part, as containerd does at the end of a stream: what is read is what was written.
func (w *Writer) write(stream string, data []byte, last bool) int {
	// Most reads bring at least one whole line; one that does not should not wait for the other stream.
	if !last && len(data) <= maxLine && bytes.IndexByte(data, '\n') < 0 {
		return 0
	}
	array := w.hub.out.Get().(*[outSize]byte)
	defer w.hub.out.Put(array)

	w.mu.Lock()
	b := batch{w: w, j: w.journals[stream], out: array[:0]}
	var full, part [maxHeader]byte
	now := time.Now()
	f, p := header(full[:0], now, stream, 'F'), header(part[:0], now, stream, 'P')
	rest := data
	for len(rest) > 0 {
		window := rest[:min(len(rest), maxLine+1)]
		switch i := bytes.IndexByte(window, '\n'); {
		case i >= 0:
			b.add(f, rest[:i], i+1)
			rest = rest[i+1:]
			continue
		case len(rest) > maxLine:
			b.add(p, rest[:maxLine], maxLine)
			rest = rest[maxLine:]
			continue
		case last:
			b.add(p, rest, len(rest))
			rest = nil
		}
		break
	}
	b.flush()
	w.mu.Unlock()
	w.topic.notify()
	return len(data) - len(rest)
}

// batch collects lines for one write(2). Its user holds Writer.mu.
type batch struct {
	w     *Writer
	j     *journal
	out   []byte
	lines int64
	used  int64 // bytes of the stream that out holds
}

// add takes a line that stands for used bytes of the stream.
func (b *batch) add(header, payload []byte, used int) {
	if len(b.out)+len(header)+len(payload)+1 > b.w.chunk {
		b.flush()
	}
	b.out = append(b.out, header...)
	b.out = append(b.out, payload...)
	b.out = append(b.out, '\n')
	b.lines++
	b.used += int64(used)
}

func (b *batch) flush() {
	if len(b.out) == 0 {
		return
	}
	if n, err := b.w.commit(b.out, b.j); err != nil {
		kept := int64(bytes.Count(b.out[:n], []byte{'\n'}))
		b.w.lost.lines += b.lines - kept
		b.w.lost.cause = err
	}
	b.j.advance(b.used)
	b.out, b.lines, b.used = b.out[:0], 0, 0
}

// errClosed is the cause of what is written after Close.
var errClosed = errors.New("writing to a closed log")

// commit appends whole lines to the file, rotating it first when they do not fit, and returns how many bytes of whole
// lines are in the file. The caller holds mu.
func (w *Writer) commit(out []byte, j *journal) (int, error) {
	if w.closed {
		return 0, errClosed
	}
	if w.current.file == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	if w.current.size > 0 && w.current.size+int64(len(out)) > w.maxSize {
		if err := w.rotate(); err != nil {
			return 0, err
		}
	}
	if err := w.report(); err != nil {
		return 0, err
	}
	j.begin(&w.current)
	return w.append(out)
}

// append writes whole lines; when the disk takes only some of them, it removes the torn one. The caller holds mu.
func (w *Writer) append(out []byte) (int, error) {
	n, err := w.current.file.Write(out)
	if err != nil {
		n = bytes.LastIndexByte(out[:n], '\n') + 1
		if terr := w.current.file.Truncate(w.current.size + int64(n)); terr != nil {
			// Start from what is on disk: open cuts the torn line.
			_ = w.current.file.Close()
			w.current.file = nil
		}
	}
	w.current.size += int64(n)
	return n, err
}

// report writes the marker for dropped lines, when there are any. The caller holds mu.
func (w *Writer) report() error {
	if w.lost.lines == 0 {
		return nil
	}
	if w.current.file == nil {
		return w.lost.cause
	}
	var buf [256]byte
	b := header(buf[:0], time.Now(), Stderr, 'F')
	b = fmt.Appendf(b, "[agent] dropped %d lines: %v\n", w.lost.lines, cause(w.lost.cause))
	if _, err := w.append(b); err != nil {
		return err
	}
	w.lost = lost{}
	return nil
}

// cause is the bare system error in err, without the path: the application's readers need not know our directories.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
