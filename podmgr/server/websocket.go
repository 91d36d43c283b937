package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"edgepod.dev/agent/podmgr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// serveWebSocket runs a command over version 5 of the WebSocket protocol, which can end stdin alone. The library serves
// the older ones; kubectl speaks this one first.
func serveWebSocket(w *upgrade, r *http.Request, o *remotecommand.Options, run func(context.Context, podmgr.Command) error) {
	when := func(wanted bool, t wsstream.ChannelType) wsstream.ChannelType {
		if wanted {
			return t
		}
		return wsstream.IgnoreChannel
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		remotecommand.StreamProtocolV5Name: {Binary: true, Channels: []wsstream.ChannelType{
			remotecommand.StreamStdIn:  when(o.Stdin, wsstream.ReadChannel),
			remotecommand.StreamStdOut: when(o.Stdout, wsstream.WriteChannel),
			remotecommand.StreamStdErr: when(o.Stderr, wsstream.WriteChannel),
			remotecommand.StreamErr:    wsstream.WriteChannel,
			remotecommand.StreamResize: wsstream.ReadChannel,
		}},
	})
	conn.SetIdleTimeout(streamIdle)
	_, streams, err := conn.Open(w, r)
	if err != nil {
		return // the client was answered
	}
	defer func() { _ = conn.Close() }()
	c := podmgr.Command{TTY: o.TTY, Resize: resizes(r.Context(), streams[remotecommand.StreamResize])}
	if o.Stdin {
		c.Stdin = streams[remotecommand.StreamStdIn]
	}
	if o.Stdout {
		c.Stdout = streams[remotecommand.StreamStdOut]
	}
	if o.Stderr {
		c.Stderr = streams[remotecommand.StreamStdErr]
	}
	// An empty message tells the client that it is connected.
	_, _ = streams[remotecommand.StreamErr].Write(nil)
	b, err := json.Marshal(commandStatus(run(r.Context(), c)))
	if err == nil {
		_, _ = streams[remotecommand.StreamErr].Write(b)
	}
}

// commandStatus is how the protocol tells the end of a command.
func commandStatus(err error) metav1.Status {
	exit := (*podmgr.ExitError)(nil)
	switch {
	case err == nil:
		return metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exit):
		return metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason, Message: exit.Error(),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{
				{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.Code)},
			}},
		}
	default:
		return metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
			Message: err.Error(),
		}
	}
}

// resizes reads terminal sizes until the stream or ctx ends.
func resizes(ctx context.Context, r io.Reader) <-chan podmgr.TerminalSize {
	out := make(chan podmgr.TerminalSize)
	go func() {
		defer close(out)
		for d := json.NewDecoder(r); ; {
			var s remotecommand.TerminalSize
			if d.Decode(&s) != nil {
				return
			}
			select {
			case out <- podmgr.TerminalSize(s):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
