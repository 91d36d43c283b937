package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"golang.org/x/sync/errgroup"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// attach is the kubelet's /attach: what the container prints from now on, until it ends. Containers have no stdin yet; a
// client that brings one is told so.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	t, err := s.running(r)
	var o *remotecommand.Options
	if err == nil {
		o, err = streamOptions(r)
	}
	if err == nil {
		err = isUpgrade(r)
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
	u, r := newUpgrade(w, r)
	defer u.close()
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		serveWebSocket(u, r, o, func(ctx context.Context, c podmgr.Command) error {
			return s.attachTo(ctx, t, c.Stdin != nil, c.Stdout, c.Stderr)
		})
	} else {
		remotecommand.ServeAttach(u, r, session{s, t}, t.key.Name, "", t.container, o, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
	}
	s.audit(r, t.key, t.container).Dur("took", time.Since(began)).Msg("attach")
}

// noStdin is what a client reads that wants to type.
const noStdin = "agent: the container has no stdin, showing its output only\r\n"

// attachTo copies what the container prints from now on. Output reaches the log line by line, and so it comes here.
func (s *Server) attachTo(ctx context.Context, t target, stdin bool, out, errOut io.Writer) error {
	attempt, err := attemptOf(t.entry, t.container, false)
	if err != nil {
		return err
	}
	path := s.Logs.File(t.key.Namespace, t.key.Name, t.entry.Pod.UID(), t.container, attempt)
	if to := cmpWriter(errOut, out); stdin && to != nil {
		if _, err := io.WriteString(to, noStdin); err != nil {
			return fmt.Errorf("attaching: %w", err)
		}
	}
	alive := func() bool { return s.runs(t.key, t.entry.Pod, t.container, attempt) }
	group, ctx := errgroup.WithContext(ctx)
	for _, stream := range []struct {
		to io.Writer
		o  logs.ReadOptions
	}{{out, logs.ReadOptions{Stdout: true}}, {errOut, logs.ReadOptions{Stderr: true}}} {
		if stream.to == nil {
			continue
		}
		stream.o.Follow, stream.o.Tail, stream.o.Wake = true, new(int64), s.Board.Changed
		group.Go(func() error { return s.Logs.Read(ctx, stream.to, path, stream.o, alive) })
	}
	if out == nil && errOut == nil { // stdin alone
		group.Go(func() error {
			return s.Logs.Read(ctx, io.Discard, path, logs.ReadOptions{Follow: true, Tail: new(int64), Wake: s.Board.Changed}, alive)
		})
	}
	return group.Wait()
}

// cmpWriter is the first that is there.
func cmpWriter(list ...io.Writer) io.Writer {
	for _, w := range list {
		if w != nil {
			return w
		}
	}
	return nil
}
