package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/rs/zerolog"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"
)

// target is a container that a request names.
type target struct {
	key       manifests.Key
	entry     *podmgr.Entry
	container string
	id        string // of the running instance
}

// pod finds the pod of a request by its path: the name, and the UID when that is given too.
func (s *Server) pod(r *http.Request) (*podmgr.Entry, error) {
	k := s.key(r)
	e, ok := s.Board.Get(k)
	uid := r.PathValue("uid")
	if !ok || e.Pod == nil || uid != "" && uid != string(e.Pod.UID()) {
		return nil, notFound(fmt.Sprintf("pod %q not found in namespace %q", k.Name, k.Namespace))
	}
	return e, nil
}

// reachable refuses what may not reach into a pod, whatever the pod.
func (s *Server) reachable(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		return &apiError{http.StatusMethodNotAllowed, r.Method + " is neither GET nor POST"}
	case s.Containers == nil:
		return notHere("access to containers")
	}
	return sameOrigin(r)
}

// running finds the running container of a request.
func (s *Server) running(r *http.Request) (target, error) {
	t := target{container: r.PathValue("container")}
	if err := s.reachable(r); err != nil {
		return t, err
	}
	e, err := s.pod(r)
	if err != nil {
		return t, err
	}
	t.key, t.entry = e.Key, e
	if podmgr.Spec(e.Pod.Object, t.container) == nil {
		return t, notFound(fmt.Sprintf("container %s is not valid for pod %s", t.container, t.key.Name))
	}
	c := statusOf(e, t.container)
	if c == nil || c.State.Running == nil {
		return t, badRequest(fmt.Sprintf("container %q in pod %q does not run", t.container, t.key.Name))
	}
	_, t.id, _ = strings.Cut(c.ContainerID, "://")
	return t, nil
}

// streamOptions reads which streams a client wants, by the kubelet's names or by the API server's.
func streamOptions(r *http.Request) (*remotecommand.Options, error) {
	set := func(names ...string) bool {
		for _, n := range names {
			if v := r.URL.Query().Get(n); v == "1" || v == "true" {
				return true
			}
		}
		return false
	}
	o := &remotecommand.Options{
		Stdin: set("input", "stdin"), Stdout: set("output", "stdout"), Stderr: set("error", "stderr"), TTY: set("tty"),
	}
	if !o.Stdin && !o.Stdout && !o.Stderr {
		return nil, badRequest("you must specify at least one of stdin, stdout, stderr")
	}
	o.Stderr = o.Stderr && !o.TTY // a terminal has one output
	return o, nil
}

// stream finds the container of an exec or attach and what the client wants of its streams, and counts it: release must be
// called once.
func (s *Server) stream(r *http.Request) (t target, o *remotecommand.Options, release func(), err error) {
	if t, err = s.running(r); err != nil {
		return t, nil, nil, err
	}
	if o, err = streamOptions(r); err != nil {
		return t, nil, nil, err
	}
	if err = isUpgrade(r); err != nil {
		return t, nil, nil, err
	}
	release, err = s.streams.take(t.key)
	return t, o, release, err
}

// exec is the kubelet's /exec.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	args := r.URL.Query()["command"]
	if len(args) == 0 {
		writeError(w, badRequest("you must specify a command"))
		return
	}
	t, o, release, err := s.stream(r)
	if err != nil {
		writeError(w, err)
		return
	}
	defer release()
	began := time.Now()
	u, r := newUpgrade(w, r)
	defer u.close()
	x := session{s: s, t: t}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		serveWebSocket(u, r, o, func(ctx context.Context, c podmgr.Command) error {
			c.Args = args
			return s.Containers.Exec(ctx, t.id, c)
		})
	} else {
		remotecommand.ServeExec(u, r, x, t.key.Name, "", t.container, args, o, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
	}
	s.audit(r, t.key, t.container).Str("command", args[0]).Bool("tty", o.TTY).Dur("took", time.Since(began)).Msg("exec")
}

// isUpgrade refuses a request that is neither SPDY nor WebSocket while it still can be answered in the usual form.
func isUpgrade(r *http.Request) error {
	if !strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") || r.Header.Get("Upgrade") == "" {
		return badRequest("upgrade request required")
	}
	return nil
}

// session serves one exec or attach through the library.
type session struct {
	s *Server
	t target
}

// ExecInContainer implements remotecommand.Executor.
func (x session) ExecInContainer(ctx context.Context, _, _, _ string, args []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	c := podmgr.Command{Args: args, TTY: tty, Stdin: in, Resize: sizes(ctx, resize)}
	c.Stdout, c.Stderr = writerOf(out), writerOf(errOut)
	err := x.s.Containers.Exec(ctx, x.t.id, c)
	if exit := (*podmgr.ExitError)(nil); errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: exit, Code: exit.Code}
	}
	return err
}

// AttachContainer implements remotecommand.Attacher.
func (x session) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	c := podmgr.Command{TTY: tty, Stdin: in, Stdout: writerOf(out), Stderr: writerOf(errOut), Resize: sizes(ctx, resize)}
	return x.s.attachTo(ctx, x.t, c)
}

// writerOf is w, or nil for a nil in an interface.
func writerOf(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// sizes passes terminal sizes on until in is closed or ctx ends.
func sizes(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan podmgr.TerminalSize {
	if in == nil {
		return nil
	}
	out := make(chan podmgr.TerminalSize)
	go func() {
		defer close(out)
		for s := range in {
			select {
			case out <- podmgr.TerminalSize(s):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// maxRunOutput bounds what /run returns, in bytes, as the CRI does.
const maxRunOutput = 16 << 20

// run is the kubelet's /run: it runs a command without input and answers with what it printed.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	t, err := s.running(r)
	args := r.URL.Query()["command"]
	if len(args) == 0 {
		args = strings.Fields(r.URL.Query().Get("cmd")) // the kubelet's name, split as it does
	}
	if err == nil && len(args) == 0 {
		err = badRequest("you must specify a command")
	}
	var release func()
	if err == nil {
		release, err = s.streams.take(t.key)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	defer release()
	began := time.Now()
	out := &capped{most: maxRunOutput}
	err = s.Containers.Exec(r.Context(), t.id, podmgr.Command{Args: args, Stdout: out, Stderr: out})
	s.audit(r, t.key, t.container).Str("command", args[0]).Dur("took", time.Since(began)).Msg("run")
	if err != nil {
		writeError(w, fmt.Errorf("%w: %s", err, out.text()))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, out.text())
}

// audit begins the log line of something that a caller did to a pod.
func (s *Server) audit(r *http.Request, k manifests.Key, container string) *zerolog.Event {
	caller, _ := r.Context().Value(callerKey{}).(Caller)
	e := s.Log.Info().Str("caller", caller.Name).Stringer("pod", k)
	if container != "" {
		e = e.Str("container", container)
	}
	return e
}
