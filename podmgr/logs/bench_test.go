package logs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkCopy is what one container can print through a FIFO, rotation and compression included.
func BenchmarkCopy(b *testing.B) {
	for _, c := range []struct {
		name string
		line int
	}{{"100B", 100}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			root := b.TempDir()
			w, err := NewWriter(filepath.Join(root, "0.log"), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = w.Close() }()
			r, app, err := OpenFIFO(filepath.Join(root, "fifo"))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			line := append(bytes.Repeat([]byte("x"), c.line-1), '\n')
			block := bytes.Repeat(line, max(1, (64<<10)/c.line))
			b.SetBytes(int64(len(block)))
			b.ReportAllocs()
			done := make(chan error)
			go func() { done <- w.Copy(b.Context(), Stdout, r) }()
			for b.Loop() {
				if _, err := app.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			_ = app.Close()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkWrite is the writer alone, one core, on a file that is never rotated.
func BenchmarkWrite(b *testing.B) {
	w, err := NewWriter(filepath.Join(b.TempDir(), "0.log"), Options{MaxSize: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	data := bytes.Repeat(append(bytes.Repeat([]byte("x"), 99), '\n'), 600)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		w.write(Stdout, data, false)
		if n%1000 == 0 {
			_ = os.Truncate(w.path, 0)
		}
	}
}

// BenchmarkRead is the reader over one full file.
func BenchmarkRead(b *testing.B) {
	root := b.TempDir()
	h := NewHub(root)
	w, err := NewWriter(filepath.Join(root, "0.log"), Options{Hub: h})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	data := bytes.Repeat(append(bytes.Repeat([]byte("x"), 99), '\n'), 50000)
	w.write(Stdout, data, false)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Read(b.Context(), io.Discard, w.path, ReadOptions{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCopyKept is BenchmarkCopy with a journal.
func BenchmarkCopyKept(b *testing.B) {
	root, err := os.MkdirTemp("/dev/shm", "agent-logs-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(root) }()
	w, err := NewWriter(filepath.Join(b.TempDir(), "0.log"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := w.Keep(Stdout, filepath.Join(root, "kept")); err != nil {
		b.Fatal(err)
	}
	r, app, err := OpenFIFO(filepath.Join(root, "fifo"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	block := bytes.Repeat(append(bytes.Repeat([]byte("x"), 99), '\n'), 655)
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	done := make(chan error)
	go func() { done <- w.Copy(b.Context(), Stdout, r) }()
	for b.Loop() {
		if _, err := app.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	_ = app.Close()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
