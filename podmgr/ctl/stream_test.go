package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/podmgr"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
	v1 "k8s.io/api/core/v1"
)

func TestExecPassesStreamsAndTheExitCode(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	for _, c := range []struct {
		name, in, out, errOut string
		command               []string
		code                  int
	}{
		{"both outputs and the exit code", "", "out\n", "err\n", []string{"sh", "-c", "echo out; echo err >&2; exit 42"}, 42},
		{"success", "", "", "", []string{"true"}, 0},
		{"input", "hello", "hello", "", []string{"cat"}, 0},
		{"much input", strings.Repeat("0123456789abcdef", 1<<17), strings.Repeat("0123456789abcdef", 1<<17), "", []string{"cat"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			s := Streams{In: strings.NewReader(c.in), Out: &out, Err: &errOut}
			err := Exec(t.Context(), n.Client, s, ExecOptions{Pod: "pod/web", Stdin: c.in != "", Command: c.command})
			if ExitCode(err) != c.code || out.String() != c.out || errOut.String() != c.errOut {
				t.Errorf("exit code %d (%v), %d bytes of output, %q", ExitCode(err), err, out.Len(), errOut.String())
			}
		})
	}
	for name, c := range map[string]struct {
		o    ExecOptions
		code int
	}{
		"a pod that is not":       {ExecOptions{Pod: "x", Command: []string{"true"}}, ExitNotFound},
		"a container that is not": {ExecOptions{Pod: "web", Container: "x", Command: []string{"true"}}, ExitNotFound},
		"no command":              {ExecOptions{Pod: "web"}, ExitUsage},
	} {
		if _, _, err := run(func(s Streams) error { return Exec(t.Context(), n.Client, s, c.o) }); ExitCode(err) != c.code {
			t.Errorf("%s: %d %v", name, ExitCode(err), err)
		}
	}
}

func TestAnInterruptedExecEndsTheCommand(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	ctx, cancel := context.WithCancel(t.Context())
	out, typed := io.Pipe()
	defer func() { _ = typed.Close() }()
	go func() {
		_, _ = out.Read(make([]byte, 1))
		cancel()
		_, _ = io.Copy(io.Discard, out)
	}()
	err := Exec(ctx, n.Client, Streams{Out: typed, Err: io.Discard}, ExecOptions{Pod: "web", Command: []string{"sh", "-c", "echo x; sleep 100"}})
	if ExitCode(err) != exitInterrupted {
		t.Errorf("got %v", err)
	}
	for range 500 {
		n.mu.Lock()
		killed := n.killed
		n.mu.Unlock()
		if killed == 1 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the command lives on")
}

// openPTY returns a pseudo-terminal: what the user's terminal emulator holds, and what the program has.
func openPTY(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close(); _ = user.Close() })
	return user, program
}

func TestATerminalIsRawAndResized(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	user, program := openPTY(t)
	if err := unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 99}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(program.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	err = Exec(t.Context(), n.Client, Streams{In: program, Out: program, Err: program}, ExecOptions{Pod: "web", Stdin: true, TTY: true, Command: []string{"size"}})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	k, _ := user.Read(got)
	if string(got[:k]) != "99x33 tty=true" {
		t.Errorf("got %q", got[:k])
	}
	if after, _ := term.GetState(int(program.Fd())); *after != *before {
		t.Error("the terminal stays raw")
	}
	_, _ = user.WriteString("x\n") // for the reader of stdin, which is not joined
}

func TestAttachTypesAndHasATerminalWhereTheContainerHas(t *testing.T) {
	n := newNode(t)
	post(n, "default", "cat", func(p *v1.Pod, _ *podmgr.Entry) { p.Spec.Containers[0].Stdin = true })
	var out, errs bytes.Buffer
	user, program := openPTY(t)
	err := Attach(t.Context(), n.Client, Streams{In: strings.NewReader("typed\n"), Out: &out, Err: &errs}, ExecOptions{Pod: "cat", Stdin: true})
	if err != nil || out.String() != "typed\n" {
		t.Errorf("%v, got %q %q", err, out.String(), errs.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = Attach(ctx, n.Client, Streams{In: program, Out: program, Err: &errs}, ExecOptions{Pod: "cat", Stdin: true, TTY: true})
	if !strings.Contains(errs.String(), "container app did not allocate one") {
		t.Errorf("got %q", errs.String())
	}
	_, _ = user.WriteString("x\n") // for the reader of stdin, which is not joined
}

func TestAttachSaysThatThereIsNoStdin(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	w := n.log(t, "web")
	defer w.close()
	ctx, cancel := context.WithCancel(t.Context())
	out, printed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Attach(ctx, n.Client, Streams{In: strings.NewReader(""), Out: printed, Err: printed}, ExecOptions{Pod: "web", Stdin: true})
	}()
	line := make([]byte, 100)
	if k, _ := out.Read(line); !strings.Contains(string(line[:k]), "no stdin") {
		t.Errorf("got %q", line[:k])
	}
	time.Sleep(50 * time.Millisecond)
	w.print("hello\n")
	if k, _ := out.Read(line); string(line[:k]) != "hello\n" {
		t.Errorf("got %q", line[:k])
	}
	cancel()
	if err := <-done; ExitCode(err) != exitInterrupted {
		t.Error(err)
	}
}

func TestPortsAreForwarded(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	er, ew := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- PortForward(ctx, n.Client, Streams{Out: w, Err: ew}, PortForwardOptions{Pod: "web", Ports: []string{":80", ":9"}, Addresses: []string{"127.0.0.1"}})
	}()
	address := func() string {
		line := make([]byte, 100)
		k, _ := r.Read(line)
		a, _, _ := strings.Cut(strings.TrimPrefix(string(line[:k]), "Forwarding from "), " ")
		return a
	}
	good, bad := address(), address()
	for range 3 {
		c, err := net.Dial("tcp", good)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("0123456789abcdef", 1<<14)
		go func() {
			_, _ = io.WriteString(c, text)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		if got, err := io.ReadAll(c); err != nil || string(got) != text {
			t.Errorf("%d bytes of %d came back: %v", len(got), len(text), err)
		}
		_ = c.Close()
	}
	c, err := net.Dial("tcp", bad)
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	k, _ := er.Read(line)
	if !strings.Contains(string(line[:k]), "connection refused") {
		t.Errorf("got %q", line[:k])
	}
	_ = c.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{"80": "80 80", "8080:80": "8080 80", ":80": "0 80", "0:80": "0 80"} {
		if l, r, err := parsePorts(text); err != nil || fmt.Sprint(l, " ", r) != want {
			t.Errorf("%q: %d %d %v", text, l, r, err)
		}
	}
	for _, text := range []string{"", "x", "80:", "80:x", "70000", "-1:80", "80:0"} {
		if _, _, err := parsePorts(text); !errors.As(err, new(UsageError)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
