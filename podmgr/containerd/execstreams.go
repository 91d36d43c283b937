package containerd

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"
)

// output is one stream of the command on its way to whom it is for.
type output struct {
	name string
	fifo *os.File
	hold *os.File // until the shim has opened its end
	to   io.Writer
}

// feed passes stdin on until it ends. A terminal stays open then: to a shell on it, the end of the input would be a hangup.
func (x *execution) feed(ctx context.Context) {
	_, err := io.Copy(x.stdin, x.c.Stdin)
	if err != nil || x.c.TTY {
		return
	}
	_ = x.stdin.Close()
	// The shim holds a writing end of its own.
	_, _ = x.r.client.TaskService().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: x.id, ExecID: x.name, Stdin: true})
}

// copy returns when the output has ended, or when reading was stopped.
func (o output) copy() error {
	buf := make([]byte, 32<<10)
	for {
		n, err := o.fifo.Read(buf)
		if n > 0 {
			if _, werr := o.to.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err != nil {
			return nil //nolint:nilerr // the end, or a deadline
		}
	}
}

// drain waits until all output is passed on and says whether it has ended. A reader that is slow is waited for, a pipe
// that is silent is not.
func (x *execution) drain(ctx context.Context, copies *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() { copies.Wait(); close(done) }()
	for silent := 0; ; {
		select {
		case <-done:
			return silent < 2
		case <-time.After(drainQuiet):
		case <-ctx.Done():
			x.stopReading()
			<-done
			return false
		}
		// What the shim has not yet moved into the pipe shows within one look.
		if silent++; !x.empty() {
			silent = 0
		}
		if silent == 2 {
			x.stopReading()
		}
	}
}

// empty says whether no pipe holds anything.
func (x *execution) empty() bool {
	for _, o := range x.outputs {
		held := 0
		raw, err := o.fifo.SyscallConn()
		if err == nil {
			_ = raw.Control(func(fd uintptr) { held, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		}
		if held > 0 {
			return false
		}
	}
	return true
}

func (x *execution) stopReading() {
	for _, o := range x.outputs {
		_ = o.fifo.SetReadDeadline(time.Unix(1, 0))
	}
}
