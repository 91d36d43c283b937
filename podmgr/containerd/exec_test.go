package containerd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// runPod runs one container with a shell command and returns its ID.
func runPod(t *testing.T, r *Runtime, name, command string) (*manifests.Pod, string) {
	t.Helper()
	zero := int64(0)
	p := &manifests.Pod{Object: &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(rand.Text())},
		Spec: v1.PodSpec{TerminationGracePeriodSeconds: &zero, Containers: []v1.Container{{
			Name: "app", Image: testImage, ImagePullPolicy: v1.PullNever, Command: []string{"sh", "-c", command},
		}}},
	}}
	if _, err := r.Pull(t.Context(), p, testImage, podmgr.PullPolicy(v1.PullNever)); err != nil {
		t.Fatal(err)
	}
	if err := r.EnsureSandbox(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), p, podmgr.Instance{Container: "app"}); err != nil {
		t.Fatal(err)
	}
	id := containerID(p.UID(), "app", 0)
	t.Cleanup(func() {
		ctx := context.Background()
		err := errors.Join(r.Stop(ctx, id, 0), r.Remove(ctx, id), r.RemoveSandbox(ctx, sandboxID(p.UID())), r.Forget(ctx, p.Key(), p.UID()))
		if err != nil {
			t.Error(err)
		}
	})
	return p, id
}

// output runs a command and returns what it printed.
func (n *testNode) output(ctx context.Context, r *Runtime, id string, c podmgr.Command) (out, errOut string, err error) {
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	err = r.Exec(ctx, id, c)
	return o.String(), e.String(), err
}

// matches counts the processes on the machine whose command line has word.
func matches(t *testing.T, word string) (n int) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), word) && !strings.HasPrefix(f, "/proc/self") {
			n++
		}
	}
	return n
}

func TestCommandsRunInContainers(t *testing.T) {
	n := newTestNode(t)
	r := n.open(t)
	t.Cleanup(r.Close)
	p, id := runPod(t, r, "exec", "nc -ll -p 8080 -e cat & sleep 100000")
	ctx := t.Context()

	t.Run("output is kept apart and the exit code is told", func(t *testing.T) {
		out, errOut, err := n.output(ctx, r, id, podmgr.Command{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 7"}})
		exit := (*podmgr.ExitError)(nil)
		if !errors.As(err, &exit) || exit.Code != 7 || out != "out\n" || errOut != "err\n" {
			t.Errorf("got %q, %q, %v", out, errOut, err)
		}
	})
	t.Run("stdin ends where its reader ends, and nothing of 3 MB is lost", func(t *testing.T) {
		in := strings.Repeat("0123456789abcde\n", 3<<16)
		out, _, err := n.output(ctx, r, id, podmgr.Command{Args: []string{"cat"}, Stdin: strings.NewReader(in)})
		if err != nil || out != in {
			t.Errorf("%d of %d bytes came back: %v", len(out), len(in), err)
		}
	})
	t.Run("a terminal has a size and one output", func(t *testing.T) {
		sizes := make(chan podmgr.TerminalSize, 1)
		sizes <- podmgr.TerminalSize{Width: 123, Height: 45}
		in, typed := io.Pipe()
		go func() {
			time.Sleep(300 * time.Millisecond)
			_, _ = io.WriteString(typed, "stty size; echo $TERM; exit 3\n")
		}()
		defer func() { _ = typed.Close() }()
		out, _, err := n.output(ctx, r, id, podmgr.Command{Args: []string{"sh"}, TTY: true, Stdin: in, Resize: sizes})
		exit := (*podmgr.ExitError)(nil)
		if !errors.As(err, &exit) || exit.Code != 3 || !strings.Contains(out, "45 123\r\n") || !strings.Contains(out, "xterm") {
			t.Errorf("got %q, %v", out, err)
		}
	})
	t.Run("a command that is not there is an error", func(t *testing.T) {
		_, _, err := n.output(ctx, r, id, podmgr.Command{Args: []string{"no-such-command"}})
		if err == nil || !strings.Contains(err.Error(), "no-such-command") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what it leaves in the background keeps nobody waiting and lives on", func(t *testing.T) {
		began := time.Now()
		out, _, err := n.output(ctx, r, id, podmgr.Command{Args: []string{"sh", "-c", "sleep 87654 & echo done"}})
		if took := time.Since(began); err != nil || out != "done\n" || took > 5*time.Second {
			t.Errorf("after %v: %q, %v", took, out, err)
		}
		if matches(t, "87654") == 0 {
			t.Error("the background process is gone")
		}
	})
	t.Run("the end of the caller kills the whole tree", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _, err := n.output(short, r, id, podmgr.Command{Args: []string{
			"sh", "-c", "trap '' TERM HUP; (trap '' TERM; sleep 76543; sleep 76543) & setsid sleep 76543 & sh -c 'sleep 76543' & wait",
		}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if left := matches(t, "76543"); left > 0 {
			t.Errorf("%d processes live on", left)
		}
	})
	t.Run("an output that fails ends the command", func(t *testing.T) {
		broken, other := io.Pipe()
		_ = broken.CloseWithError(net.ErrClosed)
		err := r.Exec(ctx, id, podmgr.Command{Args: []string{"sh", "-c", "echo x; sleep 65432"}, Stdout: other})
		if !errors.Is(err, net.ErrClosed) || matches(t, "65432") > 0 {
			t.Errorf("got %v, %d processes", err, matches(t, "65432"))
		}
	})
	t.Run("a port is reached through its namespace, and each direction closes alone", func(t *testing.T) {
		ours, theirs := net.Pipe()
		done := make(chan error, 1)
		h := &halfPipe{Conn: theirs, eof: make(chan struct{})}
		go func() { done <- r.PortForward(ctx, p, 8080, h) }()
		_ = ours.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(ours, "hello")
		close(h.eof) // what is sent is over, what is answered is not
		got := make([]byte, 5)
		if _, err := io.ReadFull(ours, got); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("a port that nobody listens on is refused", func(t *testing.T) {
		_, theirs := net.Pipe()
		if err := r.PortForward(ctx, p, 9, theirs); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nothing is left of them", func(t *testing.T) {
		for range 100 {
			left, _ := filepath.Glob(filepath.Join(r.containerState(id), execPrefix+"*"))
			if len(left) == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("pipes are left")
	})
	t.Run("the next agent kills what this one had begun", func(t *testing.T) {
		x, err := r.newExec(ctx, id, podmgr.Command{Args: []string{"sleep", "54321"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.start(ctx); err != nil {
			t.Fatal(err)
		}
		for _, o := range x.outputs {
			_ = o.fifo.Close()
		}
		r.ReapExecs(ctx)
		for began := time.Now(); matches(t, "54321") > 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatal("it lives on")
			}
		}
	})
	t.Run("the next agent is not held up by one that had not begun", func(t *testing.T) {
		x, err := r.newExec(ctx, id, podmgr.Command{Args: []string{"sleep", "54322"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range x.outputs {
			_, _ = o.fifo.Close(), o.hold.Close() // as the kernel does for an agent that dies
		}
		started := make(chan error, 1)
		go func() { started <- x.start(ctx) }()
		select {
		case err := <-started:
			t.Fatalf("the shim does not wait for a reader (%v): this test shows nothing", err)
		case <-time.After(time.Second):
		}
		began := time.Now()
		r.ReapExecs(ctx)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if err := <-started; err != nil {
			t.Error(err)
		}
		for began := time.Now(); matches(t, "54322") > 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatal("it lives on")
			}
		}
	})
}

// halfPipe reads an end when eof is closed, and what was written before it.
type halfPipe struct {
	net.Conn
	eof chan struct{}
}

func (h *halfPipe) Read(b []byte) (int, error) {
	select {
	case <-h.eof:
		return 0, io.EOF
	default:
	}
	_ = h.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := h.Conn.Read(b)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil
	}
	return n, err
}
