package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"edgepod.dev/agent/podmgr/logs"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// logPump moves what containers print from their FIFOs into log files. When the agent dies, a container's shim keeps
// the FIFO open and 1 MiB of output waits in it for the next agent.
type logPump struct {
	hub  *logs.Hub
	opts logs.Options
	log  zerolog.Logger

	ctx  context.Context //nolint:containedctx // ends the copies; owned by close
	stop context.CancelFunc

	mu   sync.Mutex
	open map[string]pumping // by container ID
}

// pumping is one container's output on its way.
type pumping struct {
	w    *logs.Writer
	done chan struct{} // closed when both streams have ended
}

func newLogPump(root string, o logs.Options, log zerolog.Logger) *logPump {
	ctx, stop := context.WithCancel(context.Background())
	hub := logs.NewHub(root)
	o.Hub = hub
	return &logPump{hub: hub, opts: o, log: log, ctx: ctx, stop: stop, open: map[string]pumping{}}
}

// attach makes the FIFOs of a container exist and copies them to the log file at path until the last writer is gone.
// release is called when the shim has opened them, or when it never will.
func (l *logPump) attach(id, dir, path string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[id]; ok {
		return func() {}, nil
	}
	w, err := logs.NewWriter(path, l.opts)
	if err != nil {
		return nil, fmt.Errorf("opening the container's log: %w", err)
	}
	for _, stream := range []string{logs.Stdout, logs.Stderr} {
		if err := w.Keep(stream, filepath.Join(dir, stream+".kept")); err != nil {
			l.log.Warn().Err(err).Str("file", path).Msg("some output may be lost or doubled")
		}
	}
	var reads, holds []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close()
		}
	}
	for _, stream := range []string{logs.Stdout, logs.Stderr} {
		read, hold, err := logs.OpenFIFO(filepath.Join(dir, stream))
		if err != nil {
			closeAll(reads)
			closeAll(holds)
			_ = w.Close()
			return nil, fmt.Errorf("opening the container's %s: %w", stream, err)
		}
		reads, holds = append(reads, read), append(holds, hold)
	}
	done := make(chan struct{})
	l.open[id] = pumping{w, done}
	go func() {
		var wg sync.WaitGroup
		for i, stream := range []string{logs.Stdout, logs.Stderr} {
			wg.Go(func() {
				if err := w.Copy(l.ctx, stream, reads[i]); err != nil && !errors.Is(err, context.Canceled) {
					l.log.Warn().Err(err).Str("file", path).Msg("copying a container's output")
				}
				_ = reads[i].Close()
			})
		}
		wg.Wait()
		if err := w.Close(); err != nil {
			l.log.Warn().Err(err).Str("file", path).Msg("closing a container's log")
		}
		l.mu.Lock()
		delete(l.open, id)
		l.mu.Unlock()
		close(done)
	}()
	return sync.OnceFunc(func() { closeAll(holds) }), nil
}

// tap begins a live view of a stream of a container; nil when the container's output has ended.
func (l *logPump) tap(id, stream string) *logs.Tap {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.open[id]
	if !ok {
		return nil
	}
	return p.w.Tap(stream)
}

// drained waits until all that an ended container printed is in its log file, at most a moment: a process that left the
// container may hold its pipe.
func (l *logPump) drained(ctx context.Context, id string) {
	l.mu.Lock()
	done := l.open[id].done
	l.mu.Unlock()
	if done == nil {
		return
	}
	const most = time.Second
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// close ends all copies. What is still in the FIFOs stays there.
func (l *logPump) close() {
	l.stop()
	l.mu.Lock()
	var all []chan struct{}
	for _, d := range l.open {
		all = append(all, d.done)
	}
	l.mu.Unlock()
	for _, d := range all {
		<-d
	}
}

// holdOutputs keeps what containers have printed and nobody has read, until the returned function is called. The engine
// deletes tasks that ended while there was none when it starts, and with them goes the shim's hold on their pipes.
func holdOutputs(state string) (release func()) {
	var held []*os.File
	for _, stream := range []string{logs.Stdout, logs.Stderr} {
		fifos, _ := filepath.Glob(filepath.Join(state, "containers", "*", stream))
		for _, path := range fifos {
			if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err == nil {
				held = append(held, f)
			}
		}
	}
	return func() {
		for _, f := range held {
			_ = f.Close()
		}
	}
}

// attachLogs reads the output of every running container again, before anything else is done.
func (r *Runtime) attachLogs(ctx context.Context) {
	for _, k := range r.index.keys() {
		ids, _ := r.index.get(k)
		for _, id := range ids {
			if err := r.attachLog(ctx, id); err != nil {
				r.log.Warn().Err(err).Str("pod", k.String()).Str("id", id).Msg("reading a container's output again")
			}
		}
	}
}

func (r *Runtime) attachLog(ctx context.Context, id string) error {
	dir := r.containerState(id)
	if _, err := os.Stat(filepath.Join(dir, startedFile)); err != nil {
		return nil // not started in this boot
	}
	c, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return fmt.Errorf("reading container %s: %w", id, err)
	}
	rec, ok := recordOf(c)
	if !ok || rec.Sealed || rec.LogPath == "" {
		return nil
	}
	release, err := r.logs.attach(id, dir, rec.LogPath)
	if err != nil {
		return err
	}
	release() // the shim holds its end since the start
	return nil
}
