package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// fakeContainers is a scripted engine: cat, fail, size, wait, and an echo on every port but 9.
type fakeContainers struct {
	mu    sync.Mutex
	ended []error // causes with which "wait" ended
}

func (f *fakeContainers) Exec(ctx context.Context, id string, c podmgr.Command) error {
	switch c.Args[0] {
	case "cat":
		_, err := io.Copy(c.Stdout, c.Stdin)
		return err
	case "fail":
		_, _ = io.WriteString(c.Stdout, "out\n")
		if c.Stderr != nil {
			_, _ = io.WriteString(c.Stderr, "err\n")
		}
		return &podmgr.ExitError{Code: 7}
	case "size":
		s := <-c.Resize
		_, err := fmt.Fprintf(c.Stdout, "%dx%d tty=%v of %s", s.Width, s.Height, c.TTY, id)
		return err
	case "wait":
		if c.Stdout != nil {
			_, _ = io.WriteString(c.Stdout, "waiting")
		}
		<-ctx.Done()
		f.mu.Lock()
		f.ended = append(f.ended, context.Cause(ctx))
		f.mu.Unlock()
		return ctx.Err()
	}
	return fmt.Errorf("no such command %q", c.Args)
}

// Attach echoes what it is given, and says its terminal's first size.
func (f *fakeContainers) Attach(ctx context.Context, id string, c podmgr.Command) error {
	if c.Stdout != nil {
		_, _ = io.WriteString(c.Stdout, "attached to "+id+"$ ")
	}
	if c.Resize != nil && c.TTY {
		s := <-c.Resize
		_, _ = fmt.Fprintf(c.Stdout, "%dx%d ", s.Width, s.Height)
	}
	if c.Stdin == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := io.Copy(c.Stdout, c.Stdin)
	return err
}

func (f *fakeContainers) PortForward(ctx context.Context, _ *manifests.Pod, port int32, stream io.ReadWriteCloser) error {
	if port == 9 {
		return errors.New("connection refused")
	}
	_, err := io.Copy(stream, stream)
	return err
}

func (f *fakeContainers) causes() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]error(nil), f.ended...)
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Fatalf("%s does not come about\n%s", what, buf[:runtime.Stack(buf, true)])
}

func streamFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.Containers = &fakeContainers{}
	f.board.Post(entry("default", "web", "u1", running(0)))
	return f
}

// dialExec opens a WebSocket of version 5.
func (f *fixture) dialExec(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"v5.channel.k8s.io"}}
	ws, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(f.url, "http")+path, nil) //nolint:bodyclose // its connection is the WebSocket's
	if err != nil {
		t.Fatalf("%v: %+v", err, resp)
	}
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// readAll collects the channels of a WebSocket until it ends.
func readAll(t *testing.T, ws *websocket.Conn) map[byte]string {
	t.Helper()
	out := map[byte]string{}
	_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				t.Errorf("the stream ended with %v", err)
			}
			return out
		}
		if len(b) > 1 {
			out[b[0]] += string(b[1:])
		}
	}
}

func TestExecOverWebSocket(t *testing.T) {
	f := streamFixture(t)
	t.Run("stdin can end alone", func(t *testing.T) {
		ws := f.dialExec(t, "/exec/default/web/app?command=cat&input=1&output=1")
		for _, m := range [][]byte{append([]byte{0}, "hello"...), {255, 0}} {
			if err := ws.WriteMessage(websocket.BinaryMessage, m); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(map[byte]string{1: "hello", 3: `{"metadata":{},"status":"Success"}`}, readAll(t, ws)); d != "" {
			t.Error(d)
		}
	})
	t.Run("the exit code is told, by the API server's names and with the pod's UID", func(t *testing.T) {
		got := readAll(t, f.dialExec(t, "/exec/default/web/u1/app?command=fail&stdout=true&stderr=true"))
		var s metav1.Status
		if err := json.Unmarshal([]byte(got[3]), &s); err != nil {
			t.Fatal(err)
		}
		if got[1] != "out\n" || got[2] != "err\n" || s.Reason != "NonZeroExitCode" || s.Details.Causes[0].Message != "7" {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a terminal is resized", func(t *testing.T) {
		ws := f.dialExec(t, "/exec/default/web/app?command=size&output=1&tty=1&error=1")
		_ = ws.WriteMessage(websocket.BinaryMessage, append([]byte{4}, `{"Width":80,"Height":25}`...))
		if got := readAll(t, ws); got[1] != "80x25 tty=true of new" {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a client that goes ends the command", func(t *testing.T) {
		ws := f.dialExec(t, "/exec/default/web/app?command=wait&output=1")
		_ = ws.NetConn().Close()
		eventually(t, "the end of the command", func() bool { return len(f.Containers.(*fakeContainers).causes()) == 1 })
		if got := f.Containers.(*fakeContainers).causes()[0]; !errors.Is(got, errHangup) {
			t.Errorf("it ended with %v", got)
		}
	})
	t.Run("a client that goes while the command takes no input ends the command", func(t *testing.T) {
		ws := f.dialExec(t, "/exec/default/web/app?command=wait&input=1&output=1")
		for range 3 {
			_ = ws.WriteMessage(websocket.BinaryMessage, make([]byte, 8<<10))
		}
		_ = ws.NetConn().Close()
		eventually(t, "the end of the command", func() bool { return len(f.Containers.(*fakeContainers).causes()) == 2 })
	})
}

func TestExecSaysWhyNot(t *testing.T) {
	f := streamFixture(t)
	f.board.Post(entry("default", "waiting", "u2", nil))
	for _, c := range []struct {
		name, path string
		code       int
		message    string
	}{
		{"another pod's UID", "/exec/default/web/u9/app?command=cat&output=1", 404, "not found"},
		{"a container that is not", "/exec/default/web/x?command=cat&output=1", 404, "container x is not valid"},
		{"one that does not run", "/exec/default/waiting/app?command=cat&output=1", 400, "does not run"},
		{"no stream", "/exec/default/web/app?command=cat", 400, "at least one"},
		{"no command", "/exec/default/web/app?output=1", 400, "specify a command"},
		{"no upgrade", "/exec/default/web/app?command=cat&output=1", 400, "upgrade request required"},
		{"no port", "/portForward/default/x", 404, "not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body := f.do(t, "POST", c.path, nil)
			if code != c.code || !strings.Contains(body, c.message) {
				t.Errorf("%d %s", code, body)
			}
		})
	}
	if code, _ := f.do(t, "DELETE", "/exec/default/web/app?command=cat&output=1", nil); code != 405 {
		t.Errorf("DELETE: %d", code)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/exec/default/web/app?command=cat&output=1", nil)
	req.Header.Set("Origin", "https://evil.example")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	req.Header.Set("X-Forwarded-For", "192.0.2.1")
	resp, err = http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusBadRequest { // it lacks the upgrade
		t.Errorf("the same through a proxy: %v %v", resp, err)
	}
	_ = resp.Body.Close()
}

func TestRunAnswersWithTheOutput(t *testing.T) {
	f := streamFixture(t)
	if code, body := f.do(t, "POST", "/run/default/web/app?cmd=fail", nil); code != 500 || !strings.Contains(body, `exit code 7: out\nerr\n`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body := f.do(t, "GET", "/run/default/web/app?cmd=fail", nil); code != http.StatusMethodNotAllowed || strings.Contains(body, "exit code") {
		t.Errorf("by GET: %d %s", code, body)
	}
}

func TestExecsAreCapped(t *testing.T) {
	f := streamFixture(t)
	var all []*websocket.Conn
	for range maxStreamsPerPod {
		all = append(all, f.dialExec(t, "/exec/default/web/app?command=wait&output=1"))
	}
	d := websocket.Dialer{Subprotocols: []string{"v5.channel.k8s.io"}}
	_, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(f.url, "http")+"/exec/default/web/app?command=wait&output=1", nil) //nolint:bodyclose // it is read already
	if err == nil || resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %v %+v", err, resp)
	}
	f.board.Post(entry("default", "other", "u3", running(0)))
	f.dialExec(t, "/exec/default/other/app?command=fail&output=1")
	for _, ws := range all {
		_ = ws.Close()
	}
	eventually(t, "room", func() bool {
		f.streams.mu.Lock()
		defer f.streams.mu.Unlock()
		return f.streams.all == 0 && len(f.streams.pods) == 0
	})
}

func TestAttachShowsWhatIsPrintedFromNowOn(t *testing.T) {
	f := streamFixture(t)
	w := f.logOf(t, "web", 0)
	w.print("before\n")
	ws := f.dialExec(t, "/attach/default/web/app?output=1&error=1&input=1")
	_, first, err := ws.ReadMessage()
	for err == nil && len(first) < 2 {
		_, first, err = ws.ReadMessage()
	}
	if err != nil || first[0] != 2 || !strings.Contains(string(first), "no stdin") {
		t.Fatalf("%q %v", first, err)
	}
	time.Sleep(50 * time.Millisecond) // until it follows
	w.print("after\n")
	_, got, err := ws.ReadMessage()
	if err != nil || string(got) != "\x01after\n" {
		t.Errorf("%q %v", got, err)
	}
	f.board.Post(entry("default", "web", "u1", running(1))) // another instance runs: this one has ended
	_ = w.Close()
	if rest := readAll(t, ws); !strings.Contains(rest[3], "Success") {
		t.Errorf("got %v", rest)
	}
}

func TestAttachTypesIntoAContainerThatWantsIt(t *testing.T) {
	f := streamFixture(t)
	f.board.Post(entry("default", "shell", "u2", func(p *v1.Pod, e *podmgr.Entry) {
		p.Spec.Containers[0].Stdin, p.Spec.Containers[0].TTY = true, true
		running(0)(p, e)
	}))
	ws := f.dialExec(t, "/attach/default/shell/app?output=1&input=1&tty=1")
	for _, message := range []string{"\x04{\"Width\":80,\"Height\":24}", "\x00typed"} {
		if err := ws.WriteMessage(websocket.BinaryMessage, []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	got := ""
	for !strings.HasSuffix(got, "typed") {
		_, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		if len(b) > 1 {
			got += string(b[1:])
		}
	}
	if got != "attached to new$ 80x24 typed" {
		t.Errorf("got %q", got)
	}
}

// dialForward opens a port-forwarding SPDY connection, through a WebSocket when tunnelled.
func (f *fixture) dialForward(t *testing.T, tunnelled bool) httpstream.Connection {
	t.Helper()
	var conn net.Conn
	if tunnelled {
		d := websocket.Dialer{Subprotocols: []string{"SPDY/3.1+portforward.k8s.io"}}
		ws, _, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(f.url, "http")+"/portForward/default/web", nil) //nolint:bodyclose // its connection is the WebSocket's
		if err != nil {
			t.Fatal(err)
		}
		conn = &tunnel{Conn: ws}
	} else {
		var err error
		if conn, err = net.Dial("tcp", strings.TrimPrefix(f.url, "http://")); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST /portForward/default/web HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"+
			"X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n")
		var head bytes.Buffer
		for one := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); head.Write(one) {
			if _, err := conn.Read(one); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasPrefix(head.String(), "HTTP/1.1 101") {
			t.Fatal(head.String())
		}
	}
	c, err := spdy.NewClientConnection(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestPortsAreForwarded(t *testing.T) {
	f := streamFixture(t)
	for name, tunnelled := range map[string]bool{"over SPDY": false, "over SPDY in a WebSocket": true} {
		t.Run(name, func(t *testing.T) {
			c := f.dialForward(t, tunnelled)
			open := func(id, port string) (data, errs httpstream.Stream) {
				h := http.Header{"Port": {port}, "Requestid": {id}, "Streamtype": {"error"}}
				errs, err := c.CreateStream(h)
				if err != nil {
					t.Fatal(err)
				}
				h.Set("streamType", "data")
				// Where nobody listens, the library may reset the stream before it is seen.
				if data, err = c.CreateStream(h); err != nil && port != "9" {
					t.Fatal(err)
				}
				return data, errs
			}
			data, _ := open("1", "80")
			_, _ = io.WriteString(data, "hello")
			_ = data.Close()
			if got, err := io.ReadAll(data); err != nil || string(got) != "hello" {
				t.Errorf("%q %v", got, err)
			}
			_, errs := open("2", "9")
			if got, _ := io.ReadAll(errs); !strings.Contains(string(got), "connection refused") {
				t.Errorf("got %q", got)
			}
			open("3", "80") // still open when the client goes
		})
	}
	eventually(t, "the end of the forwards", func() bool {
		f.forwards.mu.Lock()
		defer f.forwards.mu.Unlock()
		return f.forwards.all == 0
	})
}

// logOf is the log of an instance of a container, to print into.
func (f *fixture) logOf(t *testing.T, pod string, attempt int) *printer {
	t.Helper()
	w, err := logs.NewWriter(f.hub.File("default", pod, "u1", "app", attempt), logs.Options{Hub: f.hub})
	if err != nil {
		t.Fatal(err)
	}
	return &printer{Writer: w, t: t}
}

// printer is a container that prints.
type printer struct {
	*logs.Writer
	t *testing.T
}

func (p *printer) print(text string) {
	if err := p.Copy(p.t.Context(), logs.Stdout, strings.NewReader(text)); err != nil {
		p.t.Error(err)
	}
}
