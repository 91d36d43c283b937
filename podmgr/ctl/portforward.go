package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PortForwardOptions are the flags of `kubectl port-forward`.
type PortForwardOptions struct {
	Namespace string // empty means "default"
	Pod       string
	Ports     []string // LOCAL:REMOTE, PORT or :REMOTE
	Addresses []string // to listen on; none means localhost
}

// PortForward listens on local ports and connects each connection with a port of the pod, until ctx ends.
func PortForward(ctx context.Context, c *Client, s Streams, o PortForwardOptions) error {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	if len(o.Ports) == 0 {
		return UsageError("port-forward wants a pod and ports: agent port-forward POD LOCAL:REMOTE ...")
	}
	if len(o.Addresses) == 0 {
		o.Addresses = []string{"127.0.0.1", "::1"}
	}
	p, err := c.pod(ctx, o.Namespace, podName(o.Pod))
	if err != nil {
		return err
	}
	f := &forward{client: c, path: path.Join("/portForward", o.Namespace, p.Name, string(p.UID)), streams: s}
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	group, ctx := errgroup.WithContext(ctx)
	for _, text := range o.Ports {
		local, remote, err := parsePorts(text)
		if err != nil {
			return err
		}
		opened, err := listenLocal(ctx, o.Addresses, local)
		if err != nil {
			return err
		}
		for _, l := range opened {
			listeners = append(listeners, l)
			fmt.Fprintf(s.Out, "Forwarding from %s -> %d\n", l.Addr(), remote)
			group.Go(func() error { return f.accept(ctx, l, remote) })
		}
	}
	return group.Wait()
}

// parsePorts reads LOCAL:REMOTE; one number is both, and an empty local one is any that is free.
func parsePorts(text string) (local, remote int, err error) {
	l, r, both := strings.Cut(text, ":")
	if !both {
		r = l
	}
	number := func(s string) (int, bool) {
		n, err := strconv.ParseUint(s, 10, 16)
		return int(n), err == nil && n > 0
	}
	remote, ok := number(r)
	if ok && l != "" && l != "0" {
		local, ok = number(l)
	}
	if !ok {
		return 0, 0, UsageError(fmt.Sprintf("port %q is not LOCAL:REMOTE", text))
	}
	return local, remote, nil
}

// listenLocal listens on a port of every address that the machine has, and of one at least.
func listenLocal(ctx context.Context, addresses []string, port int) (out []net.Listener, err error) {
	var errs []error
	for _, a := range addresses {
		if a == "localhost" {
			a = "127.0.0.1"
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(a, strconv.Itoa(port)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			port = tcp.Port // the same for all
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("listening: %w", errors.Join(errs...))
	}
	return out, nil
}

// forward is one port-forward.
type forward struct {
	client  *Client
	path    string
	streams Streams

	mu sync.Mutex // held while a line is printed
}

func (f *forward) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(f.streams.Err, format+"\n", args...)
}

func (f *forward) accept(ctx context.Context, l net.Listener, remote int) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a connection: %w", err)
		}
		all.Go(func() {
			defer func() { _ = conn.Close() }()
			if err := f.connect(ctx, conn, remote); err != nil && ctx.Err() == nil {
				f.say("forwarding to port %d: %v", remote, err)
			}
		})
	}
}

// refusalTime is how long the agent has to say why it refuses a port.
const refusalTime = 2 * time.Second

// connect serves one connection by a connection of its own to the agent, so that one that is stalled holds up no other.
func (f *forward) connect(ctx context.Context, local net.Conn, remote int) error {
	conn, err := f.client.upgrade(ctx, f.path, url.Values{}, forwardProtocol)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(); _ = local.Close() })
	defer stop()
	h := http.Header{"Port": {strconv.Itoa(remote)}, "Requestid": {"0"}, "Streamtype": {"error"}}
	errs, err := conn.CreateStream(h)
	if err != nil {
		return fmt.Errorf("opening a stream to the agent: %w", err)
	}
	_ = errs.Close() // nothing is said on it
	told := make(chan error, 1)
	go func() {
		message, _ := io.ReadAll(errs) // a refusal is followed by a reset
		if len(message) > 0 {
			told <- errors.New(string(message))
		}
		close(told)
	}()
	h = h.Clone()
	h.Set("streamType", "data")
	data, err := conn.CreateStream(h)
	if err != nil {
		// What the agent says of a refusal is on its way when the other stream is reset.
		stop := time.AfterFunc(refusalTime, func() { _ = conn.Close() })
		defer stop.Stop()
		return cmp.Or(<-told, fmt.Errorf("opening a stream to the agent: %w", err))
	}
	go func() {
		_, _ = io.Copy(data, local)
		_ = data.Close()
	}()
	_, copyErr := io.Copy(local, data)
	if half, ok := local.(interface{ CloseWrite() error }); ok && copyErr == nil {
		_ = half.CloseWrite()
	}
	// The agent ends this stream when both directions have ended.
	return <-told
}

// podName is NAME for NAME and for pod/NAME.
func podName(arg string) string {
	for _, kind := range []string{"pod/", "pods/", "po/"} {
		if name, ok := strings.CutPrefix(arg, kind); ok {
			return name
		}
	}
	return arg
}
