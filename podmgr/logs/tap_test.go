package logs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fifoWriter is a FIFO being copied, with its writing end.
func fifoWriter(t *testing.T) (w *Writer, in *os.File, copied chan error) {
	t.Helper()
	dir := t.TempDir()
	w, err := NewWriter(filepath.Join(dir, "0.log"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	read, hold, err := OpenFIFO(filepath.Join(dir, "fifo"))
	if err != nil {
		t.Fatal(err)
	}
	copied = make(chan error, 1)
	go func() {
		err := w.Copy(context.Background(), Stdout, read)
		_ = read.Close()
		copied <- err
	}()
	t.Cleanup(func() { _ = hold.Close(); _ = w.Close() })
	return w, hold, copied
}

func TestALiveViewShowsUnfinishedLinesAndEndsWithTheStream(t *testing.T) {
	w, in, copied := fifoWriter(t)
	_, _ = in.WriteString("before\n")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if b, _ := os.ReadFile(w.path); strings.Contains(string(b), "before") || time.Now().After(deadline) {
			break
		}
	}
	tap := w.Tap(Stdout)
	defer tap.Close()
	other := w.Tap(Stderr)
	defer other.Close()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tap.Copy(t.Context(), pw); _ = pw.Close() }()
	_, _ = in.WriteString("$ ")
	buf := make([]byte, 10)
	if n, err := pr.Read(buf); string(buf[:n]) != "$ " {
		t.Errorf("got %q (%v), want the prompt alone", buf[:n], err)
	}
	_, _ = in.WriteString("last")
	_ = in.Close()
	if err := <-copied; err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, _ := pr.Read(buf); string(buf[:n]) != "last" {
		t.Errorf("got %q, want the end", buf[:n])
	}
	// A view of what has ended ends at once.
	late := w.Tap(Stdout)
	defer late.Close()
	if err := late.Copy(t.Context(), &bytes.Buffer{}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := other.Copy(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a view whose context ended returned %v", err)
	}
}

func TestASlowViewMakesNobodyWaitAndSaysWhatIsMissing(t *testing.T) {
	w, in, copied := fifoWriter(t)
	tap := w.Tap(Stdout)
	defer tap.Close()
	line := []byte(strings.Repeat("x", 999) + "\n")
	const lines = 4 * tapBuffer / 1000
	for range lines {
		if _, err := in.Write(line); err != nil { // the FIFO would fill if anybody waited
			if strings.Contains(err.Error(), "temporarily unavailable") {
				time.Sleep(time.Millisecond)
				continue
			}
			t.Fatal(err)
		}
	}
	_ = in.Close()
	if err := <-copied; err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tap.Copy(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), strings.TrimSpace(skipped)) || out.Len() > tapBuffer+len(skipped) {
		t.Errorf("the view shows %d bytes and not what was left out", out.Len())
	}
}
