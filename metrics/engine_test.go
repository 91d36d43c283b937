package metrics

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// engine is as much of containerd's API as cAdvisor's containerd handler asks for, over a real socket. There is one for
// the whole test binary, as cAdvisor knows only one in a process.
type engine struct {
	socket string
	server *grpc.Server
	done   chan error

	mu         sync.Mutex
	containers map[string]engineContainer // guarded by mu
}

type engineContainer struct {
	labels map[string]string
	image  string
	pid    int
}

var startEngine = sync.OnceValues(func() (*engine, error) {
	dir, err := os.MkdirTemp("", "metrics-test-")
	if err != nil {
		return nil, err
	}
	e := &engine{socket: filepath.Join(dir, "containerd.sock"), containers: map[string]engineContainer{}}
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer()
	containersapi.RegisterContainersServer(s, containersServer{e: e})
	tasksapi.RegisterTasksServer(s, tasksServer{e: e})
	versionapi.RegisterVersionServer(s, versionServer{})
	e.server, e.done = s, make(chan error, 1)
	go func() { e.done <- s.Serve(l) }()
	return e, nil
})

// stopEngine ends the engine, which it starts if no test has.
func stopEngine() error {
	e, err := startEngine()
	if err != nil {
		return err
	}
	e.server.Stop()
	return errors.Join(<-e.done, os.RemoveAll(filepath.Dir(e.socket)))
}

func theEngine(t testing.TB) *engine {
	t.Helper()
	e, err := startEngine()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) put(t testing.TB, id string, c engineContainer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[id] = c
	t.Cleanup(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.containers, id)
	})
}

func (e *engine) find(id string) (engineContainer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.containers[id]
	if !ok {
		return c, status.Errorf(codes.NotFound, "no container %s", id)
	}
	return c, nil
}

// containersServer and tasksServer both have a Get, hence the wrappers.
type containersServer struct {
	containersapi.UnimplementedContainersServer
	e *engine
}

type tasksServer struct {
	tasksapi.UnimplementedTasksServer
	e *engine
}

func (s containersServer) Get(_ context.Context, r *containersapi.GetContainerRequest) (*containersapi.GetContainerResponse, error) {
	c, err := s.e.find(r.ID)
	if err != nil {
		return nil, err
	}
	return &containersapi.GetContainerResponse{Container: &containersapi.Container{
		ID: r.ID, Labels: c.labels, Image: c.image, CreatedAt: timestamppb.New(time.Now()),
		Spec: &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: []byte(`{"process":{}}`)},
	}}, nil
}

func (s tasksServer) Get(_ context.Context, r *tasksapi.GetRequest) (*tasksapi.GetResponse, error) {
	c, err := s.e.find(r.ContainerID)
	if err != nil {
		return nil, err
	}
	return &tasksapi.GetResponse{Process: &tasktypes.Process{ID: r.ContainerID, Pid: uint32(c.pid), Status: tasktypes.Status_RUNNING}}, nil
}

type versionServer struct {
	versionapi.UnimplementedVersionServer
}

func (versionServer) Version(context.Context, *emptypb.Empty) (*versionapi.VersionResponse, error) {
	return &versionapi.VersionResponse{Version: "test"}, nil
}
