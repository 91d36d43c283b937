package containerd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"
)

// reapPatience is how long a shim may take to say which process a command is.
const reapPatience = 30 * time.Second

// ReapExecs kills the commands that an agent before this one had begun: whoever waited for them is gone. It returns at
// once; a shim that is slow to answer holds up nothing.
func (r *Runtime) ReapExecs(ctx context.Context) {
	fifos, _ := filepath.Glob(filepath.Join(r.cfg.State, "containers", "*", execPrefix+"*-"+logs.Stdout))
	for _, f := range fifos {
		id, name := filepath.Base(filepath.Dir(f)), strings.TrimSuffix(filepath.Base(f), "-"+logs.Stdout)
		r.background.Go(func() { r.reapExec(ctx, id, name) })
	}
}

// reapExec kills one. When the agent died between asking for the command and its beginning, the shim waits for a reader of
// its output and meanwhile answers nobody who asks for it: so there has to be one.
func (r *Runtime) reapExec(ctx context.Context, id, name string) {
	ctx, cancel := context.WithTimeout(ctx, reapPatience)
	defer cancel()
	for _, stream := range []string{"stdin", logs.Stdout, logs.Stderr} {
		path := filepath.Join(r.containerState(id), name+"-"+stream)
		// For both, so that a shim that opens either end goes on, whenever it does.
		if f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err == nil {
			defer func() { _ = f.Close() }()
		}
		defer func() { _ = os.Remove(path) }()
	}
	resp, err := r.client.TaskService().Get(r.ns(ctx), &tasks.GetRequest{ContainerID: id, ExecID: name})
	if err != nil {
		return // it has ended, or its container has
	}
	killTree(int(resp.GetProcess().GetPid()), id)
	r.forgetExec(id, name)
}
