// Command containerd-shim-runc-v2 is containerd's own shim for runc, of the version that go.mod names, with these differences.
// Which processes a container has is read from its cgroup instead of asked of `runc ps`. Containerd asks every shim that when
// it starts, and the agent with it: two processes of runc a pod were most of the time that adopting 50 pods took.
// And what a container has printed and nobody has read yet outlives it until its task is deleted: containerd's shim closes the
// pipes with the container, and what the agent had not read while it was away would be gone. And starting a container's program
// runs no process of runc.
package main

import (
	"context"
	"os"
	"runtime/debug"
	"sync"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	runctask "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
)

func main() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn:   newService,
	})
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}

// newService makes the service of the shim, as containerd's own plugin does.
func newService(ic *plugin.InitContext) (any, error) {
	publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	down, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	s, err := runctask.NewTaskService(ic.Context, publisher.(shim.Publisher), down.(shutdown.Service))
	if err != nil {
		return nil, err
	}
	runc.Monitor = monitor{runc.Monitor}
	debug.SetGCPercent(gcPercent)
	return &service{TTRPCTaskService: s, held: map[string][]*os.File{}}, nil
}

// gcPercent replaces the 40 of the shim's library, with which a start is mostly garbage collection. The library gives back
// each half minute what is not used.
const gcPercent = 400

// service is containerd's, but for Pids and what is held.
type service struct {
	taskapi.TTRPCTaskService

	mu   sync.Mutex
	held map[string][]*os.File // reading ends of a task's output pipes; guarded by mu
}

// RegisterTTRPC is how the shim finds out that this is a service.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error { //nolint:unparam // the shim's interface
	taskapi.RegisterTTRPCTaskService(server, s)
	return nil
}

// Create holds the pipes of the task's output open for reading.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	var files []*os.File
	for _, path := range []string{r.GetStdout(), r.GetStderr()} {
		if st, err := os.Stat(path); err != nil || st.Mode()&os.ModeNamedPipe == 0 {
			continue
		}
		if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			files = append(files, f)
		}
	}
	resp, err := s.TTRPCTaskService.Create(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		release(files)
		return nil, err
	}
	s.held[r.GetID()] = files
	return resp, nil
}

// Delete lets go of the pipes of a task that is forgotten.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	resp, err := s.TTRPCTaskService.Delete(ctx, r)
	if err == nil && r.GetExecID() == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		release(s.held[r.GetID()])
		delete(s.held, r.GetID())
	}
	return resp, err
}

func release(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// Pids lists the processes in the cgroup of the container's first process, or what runc says when that cannot be read.
func (s *service) Pids(ctx context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	state, err := s.State(ctx, &taskapi.StateRequest{ID: r.GetID()})
	if err != nil {
		return nil, err
	}
	pids, err := processes(int(state.GetPid()))
	if err != nil {
		return s.TTRPCTaskService.Pids(ctx, r)
	}
	resp := &taskapi.PidsResponse{}
	for _, pid := range pids {
		resp.Processes = append(resp.Processes, &task.ProcessInfo{Pid: uint32(pid)}) //nolint:gosec // a PID is positive
	}
	return resp, nil
}

// processes are the PIDs in the cgroup of pid and below it.
func processes(pid int) (pids []int, err error) {
	if cgroups.Mode() == cgroups.Unified {
		path, err := cgroup2.PidGroupPath(pid)
		if err != nil {
			return nil, err
		}
		m, err := cgroup2.Load(path)
		if err != nil {
			return nil, err
		}
		list, err := m.Procs(true)
		for _, p := range list {
			pids = append(pids, int(p)) //nolint:gosec // a PID
		}
		return pids, err
	}
	c, err := cgroup1.Load(cgroup1.PidPath(pid))
	if err != nil {
		return nil, err
	}
	list, err := c.Processes(cgroup1.Devices, true)
	for _, p := range list {
		pids = append(pids, p.Pid)
	}
	return pids, err
}
