package containerd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// execPrefix begins the IDs of execs and the names of their FIFOs in <state>/containers/<id>: "exec-<random>-stdout".
const execPrefix = "exec-"

// drainQuiet is how long an ended command's output may be silent before it counts as read: what the command left running
// in the background keeps the pipe open and must not keep the caller.
const drainQuiet = 200 * time.Millisecond

// Exec runs a command in the running container id and returns when it has ended: nil for exit code 0, *podmgr.ExitError
// for another. When ctx ends first, or an output fails, the command is killed with everything it started, and the error
// is ctx's or the output's. What a command that ended by itself left in the background lives on with the container.
func (r *Runtime) Exec(ctx context.Context, id string, c podmgr.Command) error {
	return r.exec(ctx, id, c, nil)
}

// Guests are those who come by the API. Their commands begin a few at a time, however many come: the rest of the machine is
// for pods and their probes.
type Guests struct {
	*Runtime
	begin chan struct{}
}

// Guests is the engine as those who come by the API have it.
func (r *Runtime) Guests() *Guests {
	return &Guests{r, make(chan struct{}, max(4, runtime.NumCPU()))}
}

// Exec is Runtime's, after waiting for its turn.
func (g *Guests) Exec(ctx context.Context, id string, c podmgr.Command) error {
	return g.exec(ctx, id, c, g.begin)
}

// exec runs a command; turns bounds how many begin at once, nil does not.
func (r *Runtime) exec(ctx context.Context, id string, c podmgr.Command, turns chan struct{}) error {
	x, err := r.newExec(ctx, id, c)
	if err != nil {
		return err
	}
	defer x.close()
	if turns != nil {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err = x.start(ctx)
	if turns != nil {
		<-turns
	}
	if err != nil {
		return err
	}
	return x.run(ctx)
}

// execution is one exec; it belongs to the goroutine in Exec.
type execution struct {
	r       *Runtime
	id      string // of the container
	name    string // of the exec
	c       podmgr.Command
	stdin   *os.File // nil without
	outputs []output
	created bool
	pid     int
	silent  bool // the outputs have ended
}

func (r *Runtime) newExec(ctx context.Context, id string, c podmgr.Command) (x *execution, err error) {
	st, err := r.task(ctx, id)
	if err != nil {
		return nil, err
	}
	if !st.running() {
		return nil, fmt.Errorf("container %s does not run", id)
	}
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	x = &execution{r: r, id: id, name: execPrefix + hex.EncodeToString(random), c: c}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	streams := []output{{name: logs.Stdout, to: c.Stdout}, {name: logs.Stderr, to: c.Stderr}}
	if c.TTY {
		streams = streams[:1]
	}
	for _, o := range streams {
		if o.fifo, o.hold, err = logs.OpenFIFO(x.path(o.name)); err != nil {
			return nil, fmt.Errorf("opening the command's %s: %w", o.name, err)
		}
		if o.to == nil {
			o.to = io.Discard
		}
		x.outputs = append(x.outputs, o)
	}
	if c.Stdin == nil {
		return x, nil
	}
	if err := unix.Mkfifo(x.path("stdin"), 0o600); err != nil {
		return nil, fmt.Errorf("opening the command's stdin: %w", err)
	}
	// For reading too, so that opening does not wait for the shim.
	if x.stdin, err = os.OpenFile(x.path("stdin"), os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err != nil {
		return nil, fmt.Errorf("opening the command's stdin: %w", err)
	}
	return x, nil
}

func (x *execution) path(stream string) string {
	return filepath.Join(x.r.containerState(x.id), x.name+"-"+stream)
}

// spec is the container's process with other arguments: user, capabilities, environment and limits are the same.
func (x *execution) spec(ctx context.Context) (*specs.Process, error) {
	c, err := x.r.client.ContainerService().Get(x.r.ns(ctx), x.id)
	if err != nil {
		return nil, fmt.Errorf("reading container %s: %w", x.id, err)
	}
	v, err := typeurl.UnmarshalAny(c.Spec)
	if err != nil {
		return nil, fmt.Errorf("decoding the container's OCI spec: %w", err)
	}
	s, ok := v.(*specs.Spec)
	if !ok || s.Process == nil {
		return nil, fmt.Errorf("decoding the container's OCI spec: it is a %T", v)
	}
	p := *s.Process
	p.Args, p.Terminal, p.CommandLine = x.c.Args, x.c.TTY, ""
	if p.Terminal && !hasEnv(p.Env, "TERM") {
		p.Env = append(slices.Clone(p.Env), "TERM=xterm")
	}
	return &p, nil
}

func (x *execution) start(ctx context.Context) error {
	spec, err := x.spec(ctx)
	if err != nil {
		return err
	}
	encoded, err := typeurl.MarshalAnyToProto(spec)
	if err != nil {
		return fmt.Errorf("encoding the command: %w", err)
	}
	req := &tasks.ExecProcessRequest{ContainerID: x.id, ExecID: x.name, Terminal: x.c.TTY, Spec: encoded, Stdout: x.path(logs.Stdout)}
	if !x.c.TTY {
		req.Stderr = x.path(logs.Stderr)
	}
	if x.stdin != nil {
		req.Stdin = x.path("stdin")
	}
	// An exec that was begun is never left half done: its answer is waited for whatever happens to ctx.
	begun, cancel := cleanup(x.r.ns(ctx))
	defer cancel()
	if _, err := x.r.client.TaskService().Exec(begun, req); err != nil {
		return fmt.Errorf("preparing the command: %w", errgrpc.ToNative(err))
	}
	x.created = true
	resp, err := x.r.client.TaskService().Start(begun, &tasks.StartRequest{ContainerID: x.id, ExecID: x.name})
	if err != nil {
		x.silent = true
		return fmt.Errorf("starting the command: %w", errgrpc.ToNative(err))
	}
	x.pid = int(resp.GetPid())
	for i := range x.outputs {
		_ = x.outputs[i].hold.Close()
		x.outputs[i].hold = nil
	}
	return nil
}

// exited is what waiting for a process returns.
type exited struct {
	code uint32
	err  error
}

func (x *execution) run(parent context.Context) error {
	ctx, fail := context.WithCancelCause(parent)
	defer fail(nil)
	if x.stdin != nil {
		go x.feed(x.r.ns(ctx)) // ends with the caller's stream, at the latest
	}
	var side sync.WaitGroup
	defer side.Wait()
	defer fail(nil)
	if x.c.Resize != nil {
		side.Go(func() { x.r.resizeTask(ctx, x.id, x.name, x.c.Resize) })
	}
	var copies sync.WaitGroup
	for _, o := range x.outputs {
		copies.Go(func() {
			if err := o.copy(); err != nil {
				fail(fmt.Errorf("passing on the command's %s: %w", o.name, err))
			}
		})
	}
	over := make(chan exited, 1)
	wait, stop := context.WithCancel(x.r.ns(context.WithoutCancel(parent)))
	defer stop()
	go func() {
		resp, err := x.r.client.TaskService().Wait(wait, &tasks.WaitRequest{ContainerID: x.id, ExecID: x.name})
		over <- exited{resp.GetExitStatus(), errgrpc.ToNative(err)}
	}()
	select {
	case e := <-over:
		if e.err != nil {
			x.stopReading()
			copies.Wait()
		} else {
			x.silent = x.drain(ctx, &copies)
		}
		switch {
		case e.err != nil:
			return fmt.Errorf("waiting for the command: %w", e.err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case e.code != 0:
			return &podmgr.ExitError{Code: int(e.code)}
		}
		return nil
	case <-ctx.Done():
		killTree(x.pid, x.id)
		x.stopReading()
		copies.Wait()
		select {
		case <-over:
		case <-time.After(10 * time.Second): // a process that the kernel does not let go of
			x.r.log.Warn().Str("id", x.id).Int("pid", x.pid).Msg("a killed command does not end")
		}
		return context.Cause(ctx)
	}
}

// close releases what the exec held. Its process has ended, but what it left behind may write on.
func (x *execution) close() {
	for _, o := range x.outputs {
		_ = o.fifo.Close()
		if o.hold != nil {
			_ = o.hold.Close()
		}
	}
	if x.stdin != nil {
		_ = x.stdin.Close()
	}
	for _, stream := range []string{"stdin", logs.Stdout, logs.Stderr} {
		_ = os.Remove(x.path(stream))
	}
	if !x.created {
		return
	}
	if x.silent {
		x.r.forgetExec(x.id, x.name)
		return
	}
	// The shim waits for a pipe that somebody holds, until the request ends.
	x.r.background.Go(func() { x.r.forgetExec(x.id, x.name) })
}

// forgetExec makes the shim forget an ended exec.
func (r *Runtime) forgetExec(id, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := r.client.TaskService().DeleteProcess(r.ns(ctx), &tasks.DeleteProcessRequest{ContainerID: id, ExecID: name})
	if err != nil {
		r.log.Debug().Err(errgrpc.ToNative(err)).Str("id", id).Msg("forgetting a command") // its container is gone
	}
}
