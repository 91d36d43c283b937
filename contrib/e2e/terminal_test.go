package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgepod.dev/agent/contrib/e2e/node"
)

// terminal is a pseudo-terminal with a program on it, as a user's terminal emulator has it.
type terminal struct {
	n      *node.Node
	user   *os.File
	line   *os.File // the program's side, to look at its settings
	screen lockedBuffer
	cmd    *exec.Cmd
	ended  chan struct{}
}

func openTerminal(t *testing.T, n *node.Node, rows, columns uint16, args ...string) *terminal {
	t.Helper()
	x := &terminal{n: n, ended: make(chan struct{})}
	var err error
	if x.user, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(x.user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(x.user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if x.line, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	x.resize(t, rows, columns)
	x.cmd = exec.Command(filepath.Join(built.bin, "agent"), append([]string{"--socket", n.Socket()}, args...)...)
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = x.line, x.line, x.line
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = x.cmd.Wait(); close(x.ended) }()
	go func() {
		buf := make([]byte, 4096)
		for {
			k, err := x.user.Read(buf)
			_, _ = x.screen.Write(buf[:k])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill()
		<-x.ended
		_ = x.line.Close()
		_ = x.user.Close()
	})
	return x
}

func (x *terminal) resize(t *testing.T, rows, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(x.user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

func (x *terminal) types(s string) { _, _ = x.user.WriteString(s) }

// shows waits until the screen has text, beyond what it had when mark was taken.
func (x *terminal) shows(mark int, text string) {
	x.n.Eventually("the terminal to show "+text, func() string {
		if s := x.screen.String(); !strings.Contains(s[min(mark, len(s)):], text) {
			return fmt.Sprintf("it shows %q", s)
		}
		return ""
	})
}

func (x *terminal) settings(t *testing.T) unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(x.line.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

// userTerminal is `agent exec -it` as a user meets it: sizes, signals by key, the exit code, the terminal afterwards.
func userTerminal(t *testing.T, n *node.Node) {
	x := openTerminal(t, n, 30, 90, "exec", "-it", "app", "--", "sh")
	before := x.settings(t)
	x.types("stty size; echo size$((1+1))\n")
	x.shows(0, "30 90")
	x.shows(0, "size2")
	mark := len(x.screen.String())
	x.resize(t, 40, 120)
	x.types("until stty size | grep '40 120'; do sleep 0.02; done; echo resized$((1+1))\n")
	x.shows(mark, "resized2")
	mark = len(x.screen.String())
	x.types("echo begun$((1+1)); sleep 1000\n")
	x.shows(mark, "begun2")
	time.Sleep(50 * time.Millisecond) // until it sleeps
	mark = len(x.screen.String())
	x.types("\x03") // Ctrl-C is the container's
	x.types("echo alive$((1+1))\n")
	x.shows(mark, "alive2")
	x.types("exit 9\n")
	select {
	case <-x.ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("exec -it does not end: %q", x.screen.String())
	}
	if code := x.cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("the exit code is %d, want 9", code)
	}
	if after := x.settings(t); after != before {
		t.Error("the terminal is not as it was")
	}

	// Who closes the window ends the command.
	y := openTerminal(t, n, 24, 80, "exec", "-it", "app", "--", "sleep", "54321")
	running := func() string {
		for _, p := range n.Processes() {
			if strings.Join(p.Args, " ") == "sleep 54321" {
				return p.String()
			}
		}
		return ""
	}
	n.Eventually("the command to run", func() string {
		if running() == "" {
			return "it does not: " + y.screen.String()
		}
		return ""
	})
	_ = y.cmd.Process.Signal(syscall.SIGTERM)
	n.Eventually("the command to end with its client", running)
}
