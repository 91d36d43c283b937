package ctl

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"edgepod.dev/agent/podmgr/logs"
)

// BenchmarkFollow is the whole way of a container's output to who follows it: FIFO, journal, log files and their rotation,
// reader, socket, client, a pipe to another program. The container waits for the follower, so that nothing is rotated away.
func BenchmarkFollow(b *testing.B) {
	n := newNode(b)
	post(n, "default", "web", nil)
	w, err := logs.NewWriter(n.hub.File("default", "web", "u1", "app", 0), logs.Options{Hub: n.hub})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	tmpfs, err := os.MkdirTemp("/dev/shm", "agent-logs-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(tmpfs) }()
	if err := w.Keep(logs.Stdout, filepath.Join(tmpfs, "kept")); err != nil {
		b.Fatal(err)
	}
	fifo, app, err := logs.OpenFIFO(filepath.Join(tmpfs, "fifo"))
	if err != nil {
		b.Fatal(err)
	}
	copied := make(chan error, 1)
	go func() { copied <- w.Copy(b.Context(), logs.Stdout, fifo) }()
	out, in, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	followed := make(chan error, 1)
	go func() {
		followed <- Logs(ctx, n.Client, Streams{Out: in}, LogsOptions{Pod: "web", Follow: true, Tail: -1})
	}()
	block := bytes.Repeat(append(bytes.Repeat([]byte("x"), 99), '\n'), 655)
	const end, ahead = "the end\n", 16 << 20
	var seen atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r := bufio.NewReaderSize(out, 64<<10); ; {
			line, err := r.ReadSlice('\n')
			if err != nil || string(line) == end {
				return
			}
			seen.Add(int64(len(line)))
		}
	}()
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	sent := int64(0)
	for b.Loop() {
		for sent-seen.Load() > ahead {
			time.Sleep(100 * time.Microsecond)
		}
		if _, err := app.Write(block); err != nil {
			b.Fatal(err)
		}
		sent += int64(len(block))
	}
	if _, err := app.WriteString(end); err != nil {
		b.Fatal(err)
	}
	<-ended
	if got := seen.Load(); got != sent {
		b.Errorf("of %d bytes %d came", sent, got)
	}
	cancel()
	if err := <-followed; err != nil {
		b.Error(err)
	}
	_, _ = app.Close(), in.Close()
	if err := <-copied; err != nil {
		b.Error(err)
	}
	_, _ = out.Close(), fifo.Close()
}
