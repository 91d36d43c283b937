package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// attach is the kubelet's /attach: the streams of a container's first process, from now on and until it ends.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	t, o, release, err := s.stream(r)
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
			return s.attachTo(ctx, t, c)
		})
	} else {
		remotecommand.ServeAttach(u, r, session{s, t}, t.key.Name, "", t.container, o, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
	}
	s.audit(r, t.key, t.container).Dur("took", time.Since(began)).Msg("attach")
}

// noStdin is what a client reads that wants to type where nobody listens.
const noStdin = "agent: the container has no stdin, showing its output only\r\n"

// attachTo attaches to the streams of a container that was made for it. Of any other the log is followed: nothing of it is
// ever left out, and a line is seen when it is whole.
func (s *Server) attachTo(ctx context.Context, t target, c podmgr.Command) error {
	if stdin, tty := wants(t.entry.Pod.Object.Spec, t.container); stdin || tty {
		if c.Stdin != nil && !stdin {
			if err := say(noStdin, c.Stderr, c.Stdout); err != nil {
				return err
			}
		}
		return s.Containers.Attach(ctx, t.id, c)
	}
	stdin, out, errOut := c.Stdin != nil, c.Stdout, c.Stderr
	attempt, err := attemptOf(t.entry, t.container, false)
	if err != nil {
		return err
	}
	path := s.Logs.File(t.key.Namespace, t.key.Name, t.entry.Pod.UID(), t.container, attempt)
	if stdin {
		if err := say(noStdin, errOut, out); err != nil {
			return err
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

// wants says whether a container is made with a stdin and with a terminal.
func wants(spec v1.PodSpec, name string) (stdin, tty bool) {
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		if c.Name == name {
			return c.Stdin, c.TTY
		}
	}
	for _, c := range spec.EphemeralContainers {
		if c.Name == name {
			return c.Stdin, c.TTY
		}
	}
	return false, false
}

// say writes text to the first writer that is there.
func say(text string, list ...io.Writer) error {
	for _, w := range list {
		if w == nil {
			continue
		}
		if _, err := io.WriteString(w, text); err != nil {
			return fmt.Errorf("attaching: %w", err)
		}
		return nil
	}
	return nil
}
