package health

import (
	"context"
	"net"
	"time"
)

// Dial opens a connection, as net.Dialer.DialContext does. A probe of a pod whose address cannot be reached from the
// host's network namespace brings its own, which enters the pod's.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// orHost is d, or dialling from the host's network namespace.
func (d Dial) orHost() Dial {
	if d != nil {
		return d
	}
	host := &net.Dialer{KeepAlive: -1} // saves four system calls on a connection that lives for milliseconds
	return host.DialContext
}

// hangUp closes a connection of which nothing more is wanted. The kubelet sets SO_LINGER to 1 s to keep sockets out of
// TIME_WAIT (kubernetes #89898), which Linux does not honour: 200 probes a second left 12 000 of them, and as many
// conntrack entries. We send a FIN, so that the server reads a clean end (PostgreSQL logs every reset), and then abort,
// which drops the socket at once. Only where the server's own FIN comes in between the two does a TIME_WAIT remain.
func hangUp(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// expire makes every read and write of conn fail once ctx has ended; it starts no goroutine before that. The returned
// stop ends the watch.
func expire(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// why is the error of ctx once that has ended, whatever it made fail, else err.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
