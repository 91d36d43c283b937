package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// printed is what Read gives for the log at path.
func printed(t *testing.T, h *Hub, path string, o ReadOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := h.Read(t.Context(), &b, path, o, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

func TestReadChoosesWhatIsAsked(t *testing.T) {
	h := NewHub(t.TempDir())
	path := File(h.root, "default", "web", "u1", "nginx", 0)
	_ = os.MkdirAll(filepath.Dir(path), 0o755)
	_ = os.WriteFile(path, []byte(`2025-01-01T00:00:00.000000001Z stdout F one
2025-01-01T00:00:01.000000000Z stdout P tw
2025-01-01T00:00:01.500000000Z stderr F oops
2025-01-01T00:00:02.000000000Z stdout F o
this is no CRI line
2025-01-01T01:00:03+01:00 stdout F three
2025-01-01T00:00:04.000000000Z stdout P unfin
`), 0o600)
	at := func(s int) time.Time { return time.Date(2025, 1, 1, 0, 0, s, 0, time.UTC) }
	for _, c := range []struct {
		name string
		o    ReadOptions
		want string
	}{
		{"everything, with the parts of a line joined", ReadOptions{}, "one\noops\ntwo\nthree\nunfin"},
		{"one stream", ReadOptions{Stderr: true}, "oops\n"},
		{"the other stream", ReadOptions{Stdout: true}, "one\ntwo\nthree\nunfin"},
		{"both streams named", ReadOptions{Stdout: true, Stderr: true}, "one\noops\ntwo\nthree\nunfin"},
		{"nothing of the tail", ReadOptions{Tail: new(int64(0))}, ""},
		{"the last line although it is unfinished", ReadOptions{Tail: new(int64(1))}, "unfin"},
		{"the tail counts whole lines", ReadOptions{Tail: new(int64(2))}, "three\nunfin"},
		{"a tail of one stream", ReadOptions{Tail: new(int64(1)), Stderr: true}, "oops\n"},
		{"a tail longer than the log", ReadOptions{Tail: new(int64(100))}, "one\noops\ntwo\nthree\nunfin"},
		{"a line is as old as its beginning", ReadOptions{Since: at(1)}, "oops\ntwo\nthree\nunfin"},
		{"other time zones are understood", ReadOptions{Since: at(3)}, "three\nunfin"},
		{"a limit cuts within a line", ReadOptions{LimitBytes: new(int64(6))}, "one\noo"},
		{"timestamps once per line", ReadOptions{Timestamps: true, Stdout: true, Since: at(1), LimitBytes: new(int64(35))}, "2025-01-01T00:00:01.000000000Z two\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, printed(t, h, path, c.o)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTailGoesBackOverPlainAndCompressedFiles(t *testing.T) {
	w, path := newWriter(t, Options{MaxSize: 20 << 10, MaxFiles: 8})
	const lines = 1500
	for i := range lines {
		w.write(Stdout, []byte(numbered(i, i+1)), false)
	}
	eventually(t, func() bool { gz, _ := filepath.Glob(path + ".*.gz"); return len(gz) > 0 })
	w.background.Wait()
	plain, _ := filepath.Glob(path + ".*[0-9]")
	if len(plain) == 0 {
		t.Fatal("no plain rotated file")
	}
	for n := int64(0); n <= lines; n += 37 {
		want := numbered(lines-int(n), lines)
		if d := cmp.Diff(want, printed(t, w.hub, path, ReadOptions{Tail: &n})); d != "" {
			t.Fatalf("the last %d lines: %s", n, d)
		}
	}
}

func TestReadRefusesWhatIsNotALogUnderItsRoot(t *testing.T) {
	h, secret := NewHub(t.TempDir()), filepath.Join(t.TempDir(), "shadow")
	_ = os.WriteFile(secret, []byte("2025-01-01T00:00:00.000000001Z stdout F secret\n"), 0o600)
	container := filepath.Join(h.root, "pod", "c")
	_ = os.MkdirAll(filepath.Join(container, "3.log"), 0o755)
	_ = os.Symlink(secret, filepath.Join(container, "0.log"))
	_ = os.Symlink(filepath.Dir(secret), filepath.Join(h.root, "pod", "link"))
	if _, _, err := OpenFIFO(filepath.Join(container, "2.log")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		filepath.Join(container, "0.log"),
		filepath.Join(h.root, "pod", "link", "shadow"),
		filepath.Join(container, "2.log"),
		filepath.Join(container, "3.log"),
		filepath.Join(h.root, "..", filepath.Base(filepath.Dir(secret)), "shadow"),
		secret,
	} {
		var b bytes.Buffer
		if err := h.Read(t.Context(), &b, path, ReadOptions{}, nil); err == nil || b.Len() > 0 {
			t.Errorf("%s: read %q, error %v", path, b.String(), err)
		}
	}
	if err := h.Read(t.Context(), io.Discard, filepath.Join(container, "1.log"), ReadOptions{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a log that does not exist: %v", err)
	}
}

// shared is a buffer that a follower writes and the test reads.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.b.Write(p) }

func (s *shared) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func TestFollowersLoseNoLineAndSeeNoneTwiceOverRotations(t *testing.T) {
	w, path := newWriter(t, Options{MaxSize: 20 << 10, MaxFiles: 50})
	const lines, followers = 5000, 3
	var alive atomic.Bool
	alive.Store(true)
	var got [followers]shared
	done := make(chan error, followers)
	w.write(Stdout, []byte(numbered(0, 10)), false)
	for i := range got {
		go func() {
			done <- w.hub.Read(t.Context(), &got[i], path, ReadOptions{Follow: true}, alive.Load)
		}()
	}
	for i := 10; i < lines; i++ {
		w.write(Stdout, []byte(numbered(i, i+1)), false)
	}
	alive.Store(false)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for range got {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range got {
		if d := cmp.Diff(numbered(0, lines), got[i].String()); d != "" {
			t.Errorf("follower %d: %s", i, d)
		}
	}
	if files, _ := filepath.Glob(path + ".*"); len(files) < 10 {
		t.Errorf("only %d rotations", len(files))
	}
}

func TestFollowWaitsAndEndsWithTheContainerOrTheClient(t *testing.T) {
	w, path := newWriter(t, Options{})
	var out shared
	wake, dead := make(chan struct{}), make(chan struct{})
	o := ReadOptions{Follow: true, Tail: new(int64(1)), Wake: func() <-chan struct{} { return wake }}
	done := make(chan error, 1)
	w.write(Stdout, []byte("one\ntwo\n"), false)
	go func() {
		done <- w.hub.Read(t.Context(), &out, path, o, func() bool {
			select {
			case <-dead:
				return false
			default:
				return true
			}
		})
	}()
	eventually(t, func() bool { return out.String() == "two\n" })
	w.write(Stdout, []byte("three\n"), false)
	eventually(t, func() bool { return out.String() == "two\nthree\n" })
	_ = w.Close()
	close(dead)
	close(wake)
	if err := <-done; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- w.hub.Read(ctx, io.Discard, path, ReadOptions{Follow: true}, nil) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v", err)
	}
	if len(w.hub.topics) > 0 {
		t.Errorf("topics are left: %v", w.hub.topics)
	}
}

func FuzzCRILogParse(f *testing.F) {
	f.Add([]byte("2025-01-01T00:00:00.000000001Z stdout F one"))
	f.Add([]byte("2025-01-01T00:00:00Z stderr P:x:y "))
	f.Add([]byte("2025-01-01T00:00:00Z stderr F"))
	f.Fuzz(func(t *testing.T, line []byte) {
		p, err := parse(line)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(line, p.stamp) || !bytes.HasSuffix(line, p.payload) {
			t.Errorf("%q was taken apart into %q and %q", line, p.stamp, p.payload)
		}
	})
}

// FuzzRotate: whatever a container prints, in whatever pieces, over whatever rotations, is what is read.
func FuzzRotate(f *testing.F) {
	f.Add([]byte("a\nb\n\n"), uint16(1), uint16(10))
	f.Add(bytes.Repeat([]byte("x"), 50000), uint16(7), uint16(3000))
	f.Add(bytes.Repeat([]byte("some line of text\n"), 4000), uint16(500), uint16(65535))
	f.Fuzz(func(t *testing.T, in []byte, piece, size uint16) {
		w, path := newWriter(t, Options{MaxSize: int64(size) + 1, MaxFiles: 10000})
		r := &pieces{data: in, size: max(int(piece), len(in)/40+1)}
		if err := w.Copy(t.Context(), Stdout, r); err != nil {
			t.Fatal(err)
		}
		if got := printed(t, w.hub, path, ReadOptions{}); got != string(in) {
			t.Errorf("printed %d bytes, read %d others", len(in), len(got))
		}
	})
}

// pieces reads data a few bytes at a time.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.data)
	p.data = p.data[n:]
	return n, nil
}
