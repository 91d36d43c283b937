package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"
)

// stdinFile is the FIFO of a container's stdin in <state>/containers/<id>. The shim holds both of its ends, so that the
// input stays open while nobody is attached and while the agent is away.
const stdinFile = "stdin"

// streams makes the FIFO of stdin, when the container wants one, and says where the streams are.
func (x *starting) streams() (streams, error) {
	s := streams{stdout: filepath.Join(x.dir, logs.Stdout), tty: x.c.TTY}
	if !s.tty {
		s.stderr = filepath.Join(x.dir, logs.Stderr)
	}
	if x.c.Stdin {
		s.stdin = filepath.Join(x.dir, stdinFile)
		if err := unix.Mkfifo(s.stdin, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
			return s, fmt.Errorf("opening the container's stdin: %w", err)
		}
	}
	return s, nil
}

// Attach connects a client with the first process of the running container id: from now on, as it is printed. It returns
// when the container's output or the client's input has ended (the latter not with stdinOnce: the output goes on), or
// when ctx has. Nobody who is attached makes the container wait.
func (r *Runtime) Attach(ctx context.Context, id string, c podmgr.Command) error {
	stored, err := r.client.ContainerService().Get(r.ns(ctx), id)
	if err != nil {
		return fmt.Errorf("reading container %s: %w", id, err)
	}
	rec, ok := recordOf(stored)
	if !ok {
		return fmt.Errorf("attaching to %s: it is none of the agent's containers", id)
	}
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	ended := make(chan error, 3)
	if err := r.attachOutput(ctx, id, rec, c, ended, &all); err != nil {
		return err
	}
	if c.Resize != nil && rec.TTY {
		all.Go(func() { r.resizeTask(ctx, id, "", c.Resize) })
	}
	if c.Stdin != nil && rec.Stdin {
		to, err := openStdin(filepath.Join(r.containerState(id), stdinFile))
		if err != nil {
			return err
		}
		f := &feeding{r: r, id: id, rec: rec, to: to}
		all.Go(func() {
			<-ctx.Done()
			_ = to.SetWriteDeadline(time.Unix(1, 0)) // a container that does not read must not keep us
		})
		go f.run(context.WithoutCancel(ctx), c.Stdin, ended) // ends with the client's stream
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attachOutput begins to pass the container's output on; ended is told when all of it has ended.
func (r *Runtime) attachOutput(ctx context.Context, id string, rec record, c podmgr.Command, ended chan<- error, all *sync.WaitGroup) error {
	var copies sync.WaitGroup
	var failed error
	var once sync.Once
	for stream, to := range map[string]io.Writer{logs.Stdout: c.Stdout, logs.Stderr: c.Stderr} {
		if stream == logs.Stderr && rec.TTY {
			continue
		}
		if to == nil {
			to = io.Discard // its end is the container's
		}
		tap := r.logs.tap(id, stream)
		if tap == nil {
			return fmt.Errorf("attaching to %s: its output has ended", id)
		}
		copies.Go(func() {
			defer tap.Close()
			if err := tap.Copy(ctx, to); err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	all.Go(func() {
		copies.Wait()
		ended <- failed
	})
	return nil
}

// openStdin opens the writing end of a container's stdin.
func openStdin(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, errors.New("attaching: the container's stdin has been closed")
	}
	if err != nil {
		return nil, fmt.Errorf("attaching to the container's stdin: %w", err)
	}
	return f, nil
}

// feeding is one client's input on its way into a container.
type feeding struct {
	r   *Runtime
	id  string
	rec record
	to  *os.File
}

// run passes the input on until the client or the container ends it.
func (f *feeding) run(ctx context.Context, from io.Reader, ended chan<- error) {
	_, err := io.Copy(f.to, from)
	_ = f.to.Close()
	if f.rec.StdinOnce && !f.rec.TTY {
		ctx, cancel := context.WithTimeout(f.r.ns(ctx), 10*time.Second)
		defer cancel()
		_, _ = f.r.client.TaskService().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: f.id, Stdin: true})
		return // what it makes of its input is still to come
	}
	if errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded) {
		return // the container reads no more, or the attach is over
	}
	ended <- nil
}

// resizeTask passes sizes of a terminal on to a process (exec empty: the first) until sizes or ctx end.
func (r *Runtime) resizeTask(ctx context.Context, id, exec string, sizes <-chan podmgr.TerminalSize) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			// An ended process has no size; whatever else fails is no reason to end what goes on.
			_, _ = r.client.TaskService().ResizePty(r.ns(ctx), &tasks.ResizePtyRequest{
				ContainerID: id, ExecID: exec, Width: uint32(s.Width), Height: uint32(s.Height),
			})
		case <-ctx.Done():
			return
		}
	}
}
