package health

import (
	"context"
	"net"
	"strconv"
)

// TCPTarget is a tcpSocket probe with everything resolved.
type TCPTarget struct {
	Host string // IP or name
	Port int
	Dial Dial // nil: from the host's network namespace
}

// TCP succeeds when a connection can be opened.
func TCP(t TCPTarget) Try {
	dial, address := t.Dial.orHost(), net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
	return func(ctx context.Context) Result {
		conn, err := dial(ctx, "tcp", address)
		if err != nil {
			return result(Failure, err.Error())
		}
		hangUp(conn)
		return Result{Outcome: Success}
	}
}
