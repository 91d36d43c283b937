package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
)

// PortForward connects stream with a TCP port on the pod's loopback address and copies both ways until both have ended,
// one fails or ctx ends. Either end may close its direction alone, as TCP allows. It leaves stream to the caller, who
// closes it to end a copy that waits for it.
func (r *Runtime) PortForward(ctx context.Context, p *manifests.Pod, port int32, stream io.ReadWriteCloser) error {
	netns := filepath.Join(r.podState(p.UID()), netFile)
	if p.Object.Spec.HostNetwork {
		netns = ""
	}
	conn, err := dialPod(ctx, netns, int(port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stream)
		_ = conn.CloseWrite()
		sent <- err
	}()
	_, err = io.Copy(stream, conn)
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	// The pod has said all it will. A client that forwards a whole connection closes its direction now; one that never
	// does keeps only itself waiting.
	_ = stream.Close()
	select {
	case err = <-sent:
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			err = nil // the pod closed both directions
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dialPod connects to a port on the loopback address in a network namespace, IPv4 before IPv6; in the host's when netns
// is empty.
func dialPod(ctx context.Context, netns string, port int) (*net.TCPConn, error) {
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := dialIn(ctx, netns, net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errs[0] // that of IPv4: almost nobody listens on ::1 alone
}

func dialIn(ctx context.Context, netns, address string) (*net.TCPConn, error) {
	type dialed struct {
		conn net.Conn
		err  error
	}
	var d dialed
	dial := func() {
		d.conn, d.err = (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, "tcp", address)
	}
	if netns == "" {
		dial()
	} else {
		// A socket stays in the namespace in which it was made.
		onOwnThread(func() {
			if d.err = enterNetNS(netns); d.err == nil {
				dial()
			}
		})
	}
	if d.err != nil {
		return nil, fmt.Errorf("connecting to the pod: %w", d.err)
	}
	conn, ok := d.conn.(*net.TCPConn)
	if !ok {
		_ = d.conn.Close()
		return nil, fmt.Errorf("connecting to the pod: got a %T", d.conn)
	}
	return conn, nil
}

func enterNetNS(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the pod has no network namespace yet")
	}
	if err != nil {
		return fmt.Errorf("opening the pod's network namespace: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the pod's network namespace: %w", err)
	}
	return nil
}

// killTree kills a command of a container: its session, which runc makes for it, and every descendant, again until nobody
// new is found. All of it is stopped first: what forks while it is looked for and killed would leave a child of which nothing
// tells any more whose it was. A process that had left the session and lost its parent before is the container's and no
// longer the command's.
func killTree(pid int, container string) {
	if pid <= 0 {
		return
	}
	stopped := map[int]bool{}
	for grown := true; grown && len(stopped) < 10_000; {
		grown = false
		for _, v := range treeOf(pid, container) {
			if !stopped[v] {
				_ = unix.Kill(v, unix.SIGSTOP)
				stopped[v], grown = true, true
			}
		}
	}
	for range 100 {
		victims := treeOf(pid, container)
		if len(victims) == 0 {
			return
		}
		for _, v := range victims {
			_ = unix.Kill(v, unix.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// treeOf lists the living processes of a command. Only those in the container's cgroup count, so that a PID that was
// taken by somebody else is never hit.
func treeOf(pid int, container string) (tree []int) {
	type process struct{ pid, parent, session int }
	var all []process
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		// pid (name) state ppid pgrp session …; the name may hold anything.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if err != nil || len(f) < 4 || f[0] == "Z" || f[0] == "X" {
			continue
		}
		p := process{pid: n}
		p.parent, _ = strconv.Atoi(f[1])
		p.session, _ = strconv.Atoi(f[3])
		all = append(all, p)
	}
	in := map[int]bool{pid: true}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if !in[p.pid] && (in[p.parent] || p.session == pid) {
				in[p.pid], grown = true, true
			}
		}
	}
	for _, p := range all {
		if !in[p.pid] {
			continue
		}
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.pid)); err == nil && strings.Contains(string(b), container) {
			tree = append(tree, p.pid)
		}
	}
	return tree
}
