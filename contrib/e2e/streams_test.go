package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"edgepod.dev/agent/contrib/e2e/node"
)

// door is the TLS door of a node's agent, as the clients of Kubernetes' own libraries reach it.
type door struct {
	n    *node.Node
	port int
}

// theToken may do everything at a door.
const theToken = "token-of-the-tests-0123456789"

// openDoor has the agent of n, which is not started yet, serve TLS on a port of the loopback address.
func openDoor(t *testing.T, n *node.Node) *door {
	t.Helper()
	d := &door{n: n, port: node.FreePort(t)}
	file := filepath.Join(n.Dir, "tokens.csv")
	if err := os.WriteFile(file, []byte(theToken+",tester,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Args = append(n.Args, "--address", "127.0.0.1", "--port", strconv.Itoa(d.port), "--token-auth-file", file, "--access", "tester=*")
	return d
}

// wait waits until the door answers.
func (d *door) wait() {
	d.n.Eventually("the TLS door to open", func() string {
		r, err := d.client().Get(d.url("/healthz", nil).String())
		if err != nil {
			return err.Error()
		}
		_ = r.Body.Close()
		return ""
	})
}

func (d *door) config() *rest.Config {
	return &rest.Config{
		Host: "https://127.0.0.1:" + strconv.Itoa(d.port), BearerToken: theToken, Timeout: time.Minute,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(d.n.Root(), "pki", "agent.crt")},
	}
}

// client is an HTTP client with the token, over connections of its own.
func (d *door) client() *http.Client {
	c, err := rest.HTTPClientFor(d.config())
	if err != nil { // the certificate is not there yet
		return &http.Client{Timeout: time.Second}
	}
	return c
}

func (d *door) url(path string, q url.Values) *url.URL {
	return &url.URL{Scheme: "https", Host: "127.0.0.1:" + strconv.Itoa(d.port), Path: path, RawQuery: q.Encode()}
}

// transports are the ways in which kubectl speaks to a kubelet.
var transports = []string{"SPDY", "WebSocket"}

func (d *door) executor(t *testing.T, transport, path string, q url.Values, o remotecommand.StreamOptions) remotecommand.Executor {
	t.Helper()
	for name, set := range map[string]bool{"stdin": o.Stdin != nil, "stdout": o.Stdout != nil, "stderr": o.Stderr != nil && !o.Tty, "tty": o.Tty} {
		if set {
			q.Set(name, "true")
		}
	}
	var e remotecommand.Executor
	var err error
	if transport == "SPDY" {
		e, err = remotecommand.NewSPDYExecutor(d.config(), "POST", d.url(path, q))
	} else {
		e, err = remotecommand.NewWebSocketExecutor(d.config(), "GET", d.url(path, q).String())
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// exec runs a command in the container app of a pod.
func (d *door) exec(t *testing.T, transport, pod string, o remotecommand.StreamOptions, command ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return d.executor(t, transport, "/exec/default/"+pod+"/app", url.Values{"command": command}, o).StreamWithContext(ctx, o)
}

// oneSize is a terminal that has one size.
type oneSize struct {
	sizes chan remotecommand.TerminalSize
}

func terminalOf(width, height uint16) oneSize {
	s := oneSize{make(chan remotecommand.TerminalSize, 1)}
	s.sizes <- remotecommand.TerminalSize{Width: width, Height: height}
	close(s.sizes)
	return s
}

func (s oneSize) Next() *remotecommand.TerminalSize {
	if size, ok := <-s.sizes; ok {
		return &size
	}
	return nil
}

// TestStreamsOfKubernetesClients: exec, attach and port-forward by client-go, as kubectl uses it.
func TestStreamsOfKubernetesClients(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		d := openDoor(t, n)
		n.Start()
		d.wait()
		shell, cat := node.Pod("shell", ""), node.Pod("cat", "")
		shell.Spec.Containers[0].Command = []string{"sh"}
		shell.Spec.Containers[0].Stdin, shell.Spec.Containers[0].TTY = true, true
		cat.Spec.Containers[0].Command = []string{"sh", "-c", "echo ready; cat; echo the input has ended; sleep 3600"}
		cat.Spec.Containers[0].Stdin, cat.Spec.Containers[0].StdinOnce = true, true
		n.Apply(node.Pod("app", "mkdir /www; echo hello >/www/index.html; httpd -p 8080 -h /www; "+node.Sleep), shell, cat)
		n.WaitRunning("app", "shell", "cat")
		for _, transport := range transports {
			t.Run(transport, func(t *testing.T) {
				n.Use(t)
				t.Run("exec", func(t *testing.T) { n.Use(t); execAsKubectl(t, d, transport) })
				t.Run("port-forward", func(t *testing.T) { n.Use(t); forwardAsKubectl(t, d, transport) })
				t.Run("attach to a terminal", func(t *testing.T) { n.Use(t); attachToShell(t, d, transport) })
			})
		}
		t.Run("attach with stdinOnce", func(t *testing.T) { n.Use(t); attachToCat(t, d) })
		t.Run("a terminal of a user", func(t *testing.T) { n.Use(t); userTerminal(t, n) })
	})
}

func execAsKubectl(t *testing.T, d *door, transport string) {
	var out, errs bytes.Buffer
	err := d.exec(t, transport, "app", remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}, "sh", "-c", "echo out; echo err >&2; exit 7")
	var exit utilexec.CodeExitError
	if !errors.As(err, &exit) || exit.Code != 7 || out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("got %v, stdout %q, stderr %q", err, out.String(), errs.String())
	}
	if err := d.exec(t, transport, "app", remotecommand.StreamOptions{Stdout: &out}, "no-such-program"); err == nil {
		t.Error("a program that does not exist ran")
	}
	in := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18) // 4 MiB through the container and back
	out.Reset()
	if err := d.exec(t, transport, "app", remotecommand.StreamOptions{Stdin: bytes.NewReader(in), Stdout: &out}, "cat"); err != nil || !bytes.Equal(in, out.Bytes()) {
		t.Errorf("%v: %d bytes went in and %d came out", err, len(in), out.Len())
	}
	out.Reset()
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	err = d.exec(t, transport, "app", remotecommand.StreamOptions{Stdin: pr, Stdout: &out, Tty: true, TerminalSizeQueue: terminalOf(101, 42)},
		"sh", "-c", `until [ "$(stty size 2>/dev/null)" = "42 101" ]; do sleep 0.02; done; echo sized; exit 3`)
	if !errors.As(err, &exit) || exit.Code != 3 || out.String() != "sized\r\n" {
		t.Errorf("on a terminal: %v, %q", err, out.String())
	}
}

// forward forwards one port of the pod app and returns the local one.
func (d *door) forward(t *testing.T, transport string, port int) (local uint16) {
	t.Helper()
	u := d.url("/portForward/default/app", nil)
	var dialer httpstream.Dialer
	var err error
	if transport == "SPDY" {
		rt, up, rerr := spdy.RoundTripperFor(d.config())
		if rerr != nil {
			t.Fatal(rerr)
		}
		dialer = spdy.NewDialerForStreaming(up, &http.Client{Transport: rt}, "POST", u)
	} else if dialer, err = portforward.NewSPDYOverWebsocketDialerForStreaming(u, d.config()); err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	t.Cleanup(func() {
		close(stop)
		<-done //nolint:errcheck // it was told to end
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("forwarding ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("forwarding does not begin")
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return ports[0].Local
}

func forwardAsKubectl(t *testing.T, d *door, transport string) {
	local := d.forward(t, transport, 8080)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/", local))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = r.Body.Close() }()
			if b, err := io.ReadAll(r.Body); string(b) != "hello\n" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
	all.Wait()
	closed := d.forward(t, transport, 9)
	if r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", closed)); err == nil {
		_ = r.Body.Close()
		t.Error("a port that nobody listens on answered")
	}
}

// attachToShell types into a container's terminal, leaves, and comes back.
func attachToShell(t *testing.T, d *door, transport string) {
	for round := range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		in, typed := io.Pipe()
		screen, shown := io.Pipe()
		o := remotecommand.StreamOptions{Stdin: in, Stdout: shown, Tty: true, TerminalSizeQueue: terminalOf(77, 33)}
		done := make(chan error, 1)
		go func() {
			done <- d.executor(t, transport, "/attach/default/shell/app", url.Values{}, o).StreamWithContext(ctx, o)
		}()
		go func() { // typed in pieces: a prompt without a line end is seen too
			fmt.Fprintf(typed, "stty -echo; until [ \"$(stty size)\" = '33 77' ]; do sleep 0.02; done; echo round %d is $((6*7)); stty echo\n", round)
		}()
		lines := bufio.NewReader(screen)
		want := fmt.Sprintf("round %d is 42\r\n", round)
		for {
			line, err := lines.ReadString('\n')
			if strings.HasSuffix(line, want) {
				break
			}
			if err != nil {
				t.Fatalf("the terminal ended with %q: %v", line, err)
			}
		}
		_ = typed.Close() // the user leaves; the shell stays
		go func() { _, _ = io.Copy(io.Discard, screen) }()
		if err := <-done; err != nil {
			t.Errorf("leaving: %v", err)
		}
		cancel()
		_ = shown.Close()
	}
	if c := node.Container(d.n.Pod("shell"), "app"); c.State.Running == nil || c.RestartCount != 0 {
		t.Errorf("the shell did not live on: %+v", c)
	}
}

// attachToCat: with stdinOnce the end of the first input is the end of the container's.
func attachToCat(t *testing.T, d *door) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	screen, shown := io.Pipe()
	o := remotecommand.StreamOptions{Stdin: strings.NewReader("one\ntwo\n"), Stdout: shown}
	done := make(chan error, 1)
	go func() {
		done <- d.executor(t, "WebSocket", "/attach/default/cat/app", url.Values{}, o).StreamWithContext(ctx, o)
	}()
	lines := bufio.NewScanner(screen)
	var got []string
	for lines.Scan() {
		if got = append(got, lines.Text()); lines.Text() == "the input has ended" {
			break
		}
	}
	if s := strings.Join(got, ","); s != "one,two,the input has ended" {
		t.Errorf("got %s", s)
	}
	cancel()
	_ = screen.Close()
	<-done //nolint:errcheck // it was told to end
	if out := d.n.MustAgent("logs", "cat"); out != "ready\none\ntwo\nthe input has ended\n" {
		t.Errorf("the log has %q", out)
	}
	if out, errs, code := d.n.Agent("attach", "-q", "-i", "cat"); code == 0 || !strings.Contains(errs, "has been closed") {
		t.Errorf("a second input: exit code %d, %q %q", code, out, errs)
	}
}
