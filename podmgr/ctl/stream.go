package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Names of the streaming protocols (k8s.io/cri-streaming has the server's side).
const (
	execProtocol    = "v4.channel.k8s.io"
	forwardProtocol = "portforward.k8s.io"
)

// upgrade turns a request into a SPDY connection. The caller closes it.
func (c *Client) upgrade(ctx context.Context, path string, query url.Values, protocol string) (httpstream.Connection, error) {
	req, err := c.request(ctx, http.MethodPost, path, query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", spdy.HeaderSpdy31)
	req.Header.Set("X-Stream-Protocol-Version", protocol)
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := req.Write(conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req) //nolint:bodyclose // its body is the connection
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer func() { _ = conn.Close() }()
		return nil, statusOf(resp)
	}
	sc, err := spdy.NewClientConnection(&onceClosed{Conn: conn, r: r})
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("opening a stream to the agent: %w", err)
	}
	return sc, nil
}

// onceClosed is a connection whose first bytes are in r, and which may be closed twice.
type onceClosed struct {
	net.Conn
	r    io.Reader
	once sync.Once
}

func (c *onceClosed) Read(b []byte) (int, error) { return c.r.Read(b) }

func (c *onceClosed) Close() (err error) {
	c.once.Do(func() { err = c.Conn.Close() })
	return err
}

// command is what runs over one connection: an exec or an attach.
type command struct {
	path  string
	query url.Values
	// in, out and errOut may be nil; a terminal has no errOut.
	in          io.Reader
	out, errOut io.Writer
	tty         bool
	resize      <-chan windowSize // nil without a terminal
}

// windowSize is a terminal's, as the protocol writes it.
type windowSize struct{ Width, Height uint16 }

// runCommand runs a command to its end: nil for exit code 0, *ExitError for another. The reading of in is not waited for.
func (c *Client) runCommand(ctx context.Context, k command) error {
	for name, set := range map[string]bool{"input": k.in != nil, "output": k.out != nil, "error": k.errOut != nil, "tty": k.tty} {
		if set {
			k.query.Set(name, "1")
		}
	}
	conn, err := c.upgrade(ctx, k.path, k.query, execProtocol)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	open := func(kind string, wanted bool) httpstream.Stream {
		if err != nil || !wanted {
			return nil
		}
		s, cerr := conn.CreateStream(http.Header{"Streamtype": {kind}})
		if cerr != nil {
			err = fmt.Errorf("opening a stream to the agent: %w", cerr)
			return nil
		}
		return s
	}
	status := open("error", true)
	in, out, errOut := open("stdin", k.in != nil), open("stdout", k.out != nil), open("stderr", k.errOut != nil)
	resize := open("resize", k.tty)
	if err != nil {
		return err
	}
	_ = status.Close() // nothing is said on it
	if in != nil {
		go func() {
			_, _ = io.Copy(in, k.in)
			_ = in.Close()
		}()
	}
	ended := make(chan struct{})
	defer close(ended)
	if resize != nil && k.resize != nil {
		go sendSizes(resize, k.resize, ended)
	}
	var copies sync.WaitGroup
	for _, s := range []struct {
		from httpstream.Stream
		to   io.Writer
	}{{out, k.out}, {errOut, k.errOut}} {
		if s.from != nil {
			copies.Go(func() {
				if _, cerr := io.Copy(s.to, s.from); cerr != nil {
					_ = conn.Close() // nobody reads what it prints
				}
			})
		}
	}
	end, err := io.ReadAll(status)
	copies.Wait()
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil || len(end) == 0 {
		return errors.New("the agent ended the connection before the command had ended")
	}
	return commandError(end)
}

func sendSizes(to io.Writer, sizes <-chan windowSize, ended <-chan struct{}) {
	for e := json.NewEncoder(to); ; {
		select {
		case s, ok := <-sizes:
			if !ok || e.Encode(s) != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// commandError reads how a command ended.
func commandError(b []byte) error {
	var s metav1.Status
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading how the command ended: %w", err)
	}
	if s.Status == metav1.StatusSuccess {
		return nil
	}
	if s.Reason == "NonZeroExitCode" && s.Details != nil {
		for _, cause := range s.Details.Causes {
			if code, err := strconv.Atoi(cause.Message); err == nil && cause.Type == "ExitCode" {
				return &ExitError{Code: code}
			}
		}
	}
	return errors.New(s.Message)
}
