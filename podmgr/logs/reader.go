package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ReadOptions say what of a log to read; the fields are those of v1.PodLogOptions.
type ReadOptions struct {
	// Follow goes on reading what is written, until the container has ended.
	Follow bool
	// Tail is how many of the last lines to read; nil means all.
	Tail *int64
	// Since leaves out lines written before it.
	Since time.Time
	// Timestamps begins each line with the time at which it was written.
	Timestamps bool
	// LimitBytes ends the output after so many bytes; nil means no limit.
	LimitBytes *int64
	// Stdout and Stderr choose streams; neither means both.
	Stdout, Stderr bool
	// Wake returns a channel that is closed or receives when alive may have changed. It is called before alive, and may
	// be nil: the log's last write is noticed anyhow.
	Wake func() <-chan struct{}
}

// Read writes what a container printed to w, oldest first, over all rotated files of the log at path, which must lie
// under the hub's root. Following ends without an error when alive reports false and everything is written, and with
// ctx's error when ctx ends. A log that does not exist is an error for which errors.Is(err, fs.ErrNotExist).
func (h *Hub) Read(ctx context.Context, w io.Writer, path string, o ReadOptions, alive func() bool) error {
	dir, err := openDir(h.root, path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	r := &reader{hub: h, topic: h.topic(path, false), dir: dir, base: filepath.Base(path), printer: newPrinter(w, o)}
	defer h.release(path, r.topic, false)
	defer r.close()
	changed, stop := r.topic.follow()
	defer stop()

	err = r.buffered(func() error { return r.existing(ctx) })
	if err == nil && o.Follow {
		err = r.follow(ctx, changed, alive)
	}
	if err == nil || errors.Is(err, context.Canceled) {
		if ferr := r.printer.finish(); err == nil {
			err = ferr
		}
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// reader is one Read; its fields belong to its goroutine.
type reader struct {
	hub     *Hub
	topic   *topic
	dir     *os.File
	base    string
	buf     []byte // set while it reads: one who waits holds none
	printer *printer

	file *os.File // being read; nil when it does not exist
	scan *scanner
	gen  uint64 // which file of the topic it is
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file, r.scan = nil, nil
	}
}

// existing reads what the files hold now, up to the end of the current one.
func (r *reader) existing(ctx context.Context) error {
	list, current, err := r.list()
	if err != nil {
		return err
	}
	first, skip, err := r.begin(list, current)
	if err != nil {
		if current != nil {
			_ = current.Close()
		}
		return err
	}
	for i := first; i < len(list) && err == nil; i++ {
		if r.before(list[i]) {
			continue
		}
		n := int64(0)
		if i == first {
			n = skip
		}
		err = r.rotated(ctx, r.base+"."+list[i].stamp, n)
		// What is missing before anything was printed is no gap: the log begins later.
		r.printer.gap = r.printer.gap && r.printer.said
	}
	r.use(current)
	if err != nil {
		return err
	}
	return r.toEnd(ctx)
}

// list returns the rotated files and opens the current one, all at one moment between two rotations.
func (r *reader) list() ([]rotated, *os.File, error) {
	r.topic.rotation.Lock()
	defer r.topic.rotation.Unlock()
	names, err := r.dir.Readdirnames(-1)
	if err != nil {
		return nil, nil, fmt.Errorf("listing logs: %w", err)
	}
	list := listRotated(r.base, names)
	current, err := openIn(r.dir, r.base, unix.O_RDONLY, 0)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(list) == 0) {
		return nil, nil, err
	}
	r.gen = r.topic.gen
	return list, current, nil
}

// begin finds where the tail begins: at which file of the list (its length means the current one), and after how many
// line ends of a rotated one. The current file is left at the right offset.
func (r *reader) begin(list []rotated, current *os.File) (first int, skip int64, err error) {
	if r.printer.o.Tail == nil {
		return 0, 0, nil
	}
	t := &tail{want: max(*r.printer.o.Tail, 0), wanted: r.printer.o.wanted}
	if current != nil {
		offset, found, err := t.plain(current, r.buf)
		if err != nil {
			return 0, 0, fmt.Errorf("reading log backwards: %w", err)
		}
		if found {
			_, err = current.Seek(offset, io.SeekStart)
			return len(list), 0, err
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		f, gz, err := r.open(r.base + "." + list[i].stamp)
		if err != nil {
			return i + 1, 0, nil // deleted meanwhile, and with it all before it
		}
		// A rotated plain file is counted from its beginning too: it is as long as it will ever be, and may be
		// compressed before it is printed.
		s, err := newScanner(f, gz, r.buf)
		var found bool
		if err == nil {
			skip, found, err = t.compressed(s)
		}
		_ = f.Close()
		if err != nil {
			return i + 1, 0, nil
		}
		if found {
			return i, skip, nil
		}
	}
	return 0, 0, nil
}

// before says whether everything in a rotated file is older than asked for: its name is the second it was rotated in.
func (r *reader) before(f rotated) bool {
	t, err := time.Parse(rotatedLayout, f.stamp[:len(rotatedLayout)])
	return err == nil && t.Add(time.Second).Before(r.printer.o.Since)
}

// open opens a rotated file in whichever form it has.
func (r *reader) open(name string) (f *os.File, gz bool, err error) {
	f, err = openIn(r.dir, name, unix.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = openIn(r.dir, name+gzSuffix, unix.O_RDONLY, 0)
		gz = true
	}
	return f, gz, err
}

// rotated prints a rotated file after passing over skip line ends. One that was deleted meanwhile, or is damaged, is
// passed over, and what follows it says so: what it held is lost, what follows is not.
func (r *reader) rotated(ctx context.Context, name string, skip int64) error {
	f, gz, err := r.open(name)
	if err != nil {
		r.printer.gap = true
		return nil
	}
	defer func() { _ = f.Close() }()
	s, err := newScanner(f, gz, r.buf)
	if err != nil {
		r.printer.gap = true
		return nil
	}
	for skip > 0 {
		line, err := s.next()
		if err != nil {
			return nil
		}
		if p, err := parse(line); err == nil && r.printer.o.wanted(p) && !p.partial {
			skip--
		}
	}
	return r.print(ctx, s)
}

// use makes f, which may be nil, the file that is read.
func (r *reader) use(f *os.File) {
	r.close()
	if f != nil {
		r.file, r.scan = f, &scanner{file: f, src: f, buf: r.buf}
	}
}

// toEnd prints the file that is read up to its last complete line.
func (r *reader) toEnd(ctx context.Context) error {
	if r.scan == nil {
		return nil
	}
	return r.print(ctx, r.scan)
}

// print prints the lines of s. A damaged compressed file ends where the damage begins.
func (r *reader) print(ctx context.Context, s *scanner) error {
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && s.gz {
			r.printer.gap = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading log: %w", err)
		}
		if err := r.printer.line(line); err != nil {
			return err
		}
	}
}
