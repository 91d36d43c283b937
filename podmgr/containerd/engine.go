package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/cmd/containerd/server"
	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	runtimev2 "github.com/containerd/containerd/v2/core/runtime/v2"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	// The plugins of the embedded engine: what a node agent needs, no CRI and no NRI.
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/server/grpc"
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/transfer"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/native/plugin"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
	_ "github.com/containerd/containerd/v2/plugins/streaming"
	_ "github.com/containerd/containerd/v2/plugins/transfer"
)

// engine is a containerd: our own in this process, or somebody's behind a socket.
type engine struct {
	client *client.Client
	server *server.Server // nil when external
	// runtime is the runtime name of containers: the path of our own shim when embedded (a shim found in $PATH may be
	// an older one: "type with url … not found"), the engine's own choice when external.
	runtime string
	// shims knows the shims of the embedded engine; nil when external.
	shims *runtimev2.ShimManager
	// address is the socket other tools (ctr, nerdctl, cAdvisor) reach the engine by.
	address string
}

// embedded says whether the engine lives in this process.
func (e *engine) embedded() bool { return e.server != nil }

func (e *engine) close() {
	if e.server != nil {
		e.server.Stop()
	}
	_ = e.client.Close()
}

// clientSlot is how the client gets out of the plugin graph: containerd hands its services to plugins only, and the
// context given to server.New reaches every plugin.
type clientSlot struct {
	client *client.Client
	shims  *runtimev2.ShimManager
}

type slotKey struct{}

// registerClientPlugin adds our plugin to containerd's registry, which is a global of the library.
var registerClientPlugin = sync.OnceFunc(func() {
	registry.Register(&plugin.Registration{
		Type: plugins.InternalPlugin,
		ID:   "agent-client",
		Requires: []plugin.Type{
			plugins.EventPlugin, plugins.LeasePlugin, plugins.SandboxStorePlugin, plugins.TransferPlugin,
			plugins.MountManagerPlugin, plugins.ServicePlugin, plugins.ShimPlugin,
		},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			slot, ok := ic.Context.Value(slotKey{}).(*clientSlot)
			if !ok {
				return nil, plugin.ErrSkipPlugin
			}
			c, err := client.New("", client.WithInMemoryServices(ic), client.WithDefaultNamespace(namespace))
			if err != nil {
				return nil, fmt.Errorf("connecting to the embedded containerd: %w", err)
			}
			shims, err := ic.GetSingle(plugins.ShimPlugin)
			if err != nil {
				return nil, fmt.Errorf("finding containerd's shims: %w", err)
			}
			slot.client, slot.shims = c, shims.(*runtimev2.ShimManager)
			return c, nil
		},
	})
})

// startEmbedded starts containerd in this process.
func startEmbedded(ctx context.Context, c Config) (*engine, error) {
	shim, err := findShim(c.Shim)
	if err != nil {
		return nil, err
	}
	state := filepath.Join(c.State, "containerd")
	address := filepath.Join(state, "containerd.sock")
	cfg := &srvconfig.Config{
		Version: version.ConfigVersion,
		Root:    filepath.Join(c.Root, "containerd"),
		State:   state,
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":           map[string]any{"address": address},
			"io.containerd.server.v1.ttrpc":          map[string]any{"address": address + ".ttrpc"},
			"io.containerd.shim.v1.manager":          map[string]any{"socket_dir": shimSocketDir(c.State)},
			"io.containerd.service.v1.diff-service":  map[string]any{"default": []string{"walking"}, "sync_fs": true},
			"io.containerd.snapshotter.v1.overlayfs": map[string]any{"sync_remove": true},
		},
		// Metrics of the socket, which register themselves in a global, and which nobody reads.
		DisabledPlugins: []string{
			string(plugins.MetricsPlugin) + ".grpc-prometheus",
			string(plugins.MetricsPlugin) + ".grpc-otel",
		},
		RequiredPlugins: []string{
			string(plugins.InternalPlugin) + ".agent-client",
			string(plugins.RuntimePluginV2) + ".task",
			string(plugins.ServerPlugin) + ".grpc",
			string(plugins.ServerPlugin) + ".ttrpc",
		},
	}
	if err := server.CreateTopLevelDirectories(cfg); err != nil {
		return nil, fmt.Errorf("creating the directories of containerd: %w", err)
	}
	registerClientPlugin()
	slot := &clientSlot{}
	srv, err := server.New(context.WithValue(ctx, slotKey{}, slot), cfg)
	if err != nil {
		return nil, fmt.Errorf("starting the embedded containerd: %w", err)
	}
	if err := srv.Start(ctx); err != nil {
		srv.Stop()
		return nil, fmt.Errorf("opening containerd's sockets: %w", err)
	}
	return &engine{client: slot.client, shims: slot.shims, server: srv, runtime: shim, address: address}, nil
}

// connect uses a containerd that already runs.
func connect(socket string) (*engine, error) {
	c, err := client.New(socket, client.WithDefaultNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd at %s: %w", socket, err)
	}
	return &engine{client: c, runtime: "io.containerd.runc.v2", address: socket}, nil
}

// findShim returns the shim that fits the embedded engine: the one given, or the one beside this executable.
func findShim(given string) (string, error) {
	if given == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("finding this executable: %w", err)
		}
		given = filepath.Join(filepath.Dir(self), "containerd-shim-runc-v2")
	}
	if _, err := os.Stat(given); err != nil {
		return "", fmt.Errorf("finding the shim of the embedded containerd: %w (contrib/build makes it; install it there, or name it with --shim)", err)
	}
	return filepath.Abs(given)
}

// shimSocketDir is where shims listen. A socket path holds 107 bytes and containerd appends a 64-digit name, so a long
// state directory gets a short stand-in.
func shimSocketDir(state string) string {
	const most = 42
	dir := filepath.Join(state, "s")
	if len(dir) <= most {
		return dir
	}
	return filepath.Join("/run/agent-shims", containerID("", state, 0)[:8])
}

// shimUp waits until the shim of the task id can be used; false: ctx ended first. Containerd tells of a task only when
// its process has been made, long after its shim is there, so this looks every millisecond. An external engine is not
// looked into.
func (e *engine) shimUp(ctx context.Context, id string) bool {
	if e.shims == nil {
		return false
	}
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		if _, err := e.shims.Get(ctx, id); err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
}
