package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
)

// box stands for the containers of a node: commands run on this machine, in a directory that is the container's root, and
// every port echoes but 9.
type box struct {
	root     string // of the containers
	manifest string // the manifest directory

	mu        sync.Mutex
	restarted []string
	killed    int // commands that their context ended
}

func newBox(t testing.TB) *box { return &box{root: t.TempDir(), manifest: t.TempDir()} }

func (b *box) Exec(ctx context.Context, _ string, c podmgr.Command) error {
	if c.Args[0] == "size" {
		s := <-c.Resize
		_, err := fmt.Fprintf(c.Stdout, "%dx%d tty=%v", s.Width, s.Height, c.TTY)
		return err
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.root, c.Stdout, c.Stderr
	cmd.WaitDelay = 100 * time.Millisecond
	if c.Stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(in, c.Stdin)
			_ = in.Close()
		}()
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		b.mu.Lock()
		b.killed++
		b.mu.Unlock()
		return ctx.Err()
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return &podmgr.ExitError{Code: exit.ExitCode()}
	}
	return err
}

// Attach echoes what it is given.
func (b *box) Attach(_ context.Context, _ string, c podmgr.Command) error {
	_, err := io.Copy(c.Stdout, c.Stdin)
	return err
}

func (b *box) PortForward(_ context.Context, _ *manifests.Pod, port int32, stream io.ReadWriteCloser) error {
	if port == 9 {
		return errors.New("connection refused")
	}
	_, err := io.Copy(stream, stream)
	return err
}

func (b *box) restart(_ context.Context, k manifests.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restarted = append(b.restarted, k.String())
	return nil
}

func (b *box) configz() any {
	return map[string]any{"root": b.root, "manifests": []string{b.manifest}, "registry-token": "hunter2", "runtime-class": []string{"kata=io.containerd.kata.v2"}}
}

func (b *box) stats(w http.ResponseWriter, _ *http.Request) {
	f, err := os.Open("testdata/summary.json")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = f.Close() }()
	_, _ = io.Copy(w, f)
}

// printer is the log of a container, to print into.
type printer struct {
	w *logs.Writer
	t *testing.T
}

func (n *node) log(t *testing.T, pod string) *printer {
	t.Helper()
	w, err := logs.NewWriter(n.hub.File("default", pod, "u1", "app", 0), logs.Options{Hub: n.hub})
	if err != nil {
		t.Fatal(err)
	}
	return &printer{w, t}
}

func (p *printer) print(text string) {
	if err := p.w.Copy(p.t.Context(), logs.Stdout, strings.NewReader(text)); err != nil {
		p.t.Error(err)
	}
}

func (p *printer) close() { _ = p.w.Close() }
