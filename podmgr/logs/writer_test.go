package logs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(copierEnv); dir != "" {
		copier(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// newWriter opens a writer of attempt 0 under a fresh root.
func newWriter(t *testing.T, o Options) (*Writer, string) {
	t.Helper()
	root := t.TempDir()
	if o.Hub == nil {
		o.Hub = NewHub(root)
	} else {
		root = o.Hub.root
	}
	path := File(root, "default", "web", "u1", "nginx", 0)
	w, err := NewWriter(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, path
}

var stampRE = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z `)

// content is a log file without its times.
func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return stampRE.ReplaceAllString(string(b), "")
}

func TestPathsAreTheKubelets(t *testing.T) {
	want := "/var/log/pods/default_web_1234/nginx/3.log"
	if got := File(DefaultRoot, "default", "web", "1234", "nginx", 3); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCopyWritesCRILines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct{ name, in, want string }{
		{"nothing is an empty file", "", ""},
		{"each line is full", "a\nb\n", "stdout F a\nstdout F b\n"},
		{"an empty line is kept", "\n\n", "stdout F \nstdout F \n"},
		{"a last line without newline is a part", "a\nb", "stdout F a\nstdout P b\n"},
		{"a line of exactly 16 KiB is whole", long + "\n", "stdout F " + long + "\n"},
		{"a longer line is split", long + "y\n", "stdout P " + long + "\nstdout F y\n"},
		{"carriage returns and zero bytes are content", "a\r\n\x00\n", "stdout F a\r\nstdout F \x00\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, path := newWriter(t, Options{})
			if err := w.Copy(t.Context(), Stdout, strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, content(t, path)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAFIFOIsCopiedUntilItsLastWriterIsGone(t *testing.T) {
	w, path := newWriter(t, Options{})
	fifo := filepath.Join(t.TempDir(), "stdout")
	r, hold, err := OpenFIFO(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	done := make(chan error)
	go func() { done <- w.Copy(t.Context(), Stdout, r) }()
	app, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = hold.Close()
	_, _ = app.WriteString("one\ntw")
	eventually(t, func() bool { return content(t, path) == "stdout F one\n" })
	_, _ = app.WriteString("o\nthree")
	_ = app.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("stdout F one\nstdout F two\nstdout P three\n", content(t, path)); d != "" {
		t.Error(d)
	}
}

func TestACancelledCopyDrainsThePipeAndTheNextContinuesItsLine(t *testing.T) {
	w, path := newWriter(t, Options{})
	r, hold, err := OpenFIFO(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = hold.WriteString("one\nhal")
	if err := w.Copy(ctx, Stdout, r); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	_, _ = hold.WriteString("f\n")
	_ = hold.Close()
	if err := w.Copy(t.Context(), Stdout, r); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("stdout F one\nstdout P hal\nstdout F f\n", content(t, path)); d != "" {
		t.Error(d)
	}
}

func TestIdleStreamsHoldNoBuffers(t *testing.T) {
	const streams = 100
	w, _ := newWriter(t, Options{})
	dir, done := t.TempDir(), make(chan error, streams)
	var holds []*os.File
	before := heap()
	for i := range streams {
		r, hold, err := OpenFIFO(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		holds = append(holds, hold)
		_, _ = hold.WriteString("a line\nand a half")
		go func() { done <- w.Copy(t.Context(), Stdout, r) }()
	}
	eventually(t, func() bool {
		st, err := os.Stat(w.path)
		return err == nil && st.Size() == int64(streams*(maxHeader+len("a line\n")))
	})
	if per := (heap() - before) / streams; per > 8<<10 {
		t.Errorf("an idle stream holds %d bytes", per)
	}
	for _, hold := range holds {
		_ = hold.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// heap is how many bytes are alive.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one only moves the pools to their victims
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAnExistingFileIsContinuedWithoutItsTornLine(t *testing.T) {
	w, path := newWriter(t, Options{})
	_ = w.Copy(t.Context(), Stdout, strings.NewReader("one\n"))
	_ = w.Close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString("2025-01-01T00:00:00.000000000Z stdout F to\x00\x00")
	_ = f.Close()
	w, err = NewWriter(path, Options{Hub: w.hub})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	_ = w.Copy(t.Context(), Stderr, strings.NewReader("two\n"))
	if d := cmp.Diff("stdout F one\nstderr F two\n", content(t, path)); d != "" {
		t.Error(d)
	}
}

func TestASymlinkInPlaceOfTheLogIsRefused(t *testing.T) {
	root, outside := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	path := File(root, "default", "web", "u1", "nginx", 0)
	_ = os.MkdirAll(filepath.Dir(path), 0o755)
	_ = os.WriteFile(outside, []byte("secret\n"), 0o600)
	_ = os.Symlink(outside, path)
	if w, err := NewWriter(path, Options{Hub: NewHub(root)}); err == nil {
		_ = w.Close()
		t.Error("the symlink was followed")
	}
	if b, _ := os.ReadFile(outside); !bytes.Equal(b, []byte("secret\n")) {
		t.Errorf("the file outside is now %q", b)
	}
}

// eventually waits for ok.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 5 s")
		}
	}
}
