// Command agent runs Kubernetes pods from manifest files on containerd, and shows them.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/containerd"
	"edgepod.dev/agent/watcher/dir"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"
)

// version is set at build time: -ldflags "-X main.version=…".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := app().RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func app() *cli.App {
	return &cli.App{
		Name:    "agent",
		Usage:   "run Kubernetes pods from manifest files, without a control plane",
		Version: version,
		Commands: []*cli.Command{
			{Name: "run", Usage: "run the pods of the manifest directories and keep them running", Flags: runFlags(), Before: loadConfig, Action: run},
		},
	}
}

// runFlags are the flags of `agent run`; each is also a key of the configuration file and an environment variable.
func runFlags() []cli.Flag {
	env := func(name string) []string {
		return []string{"AGENT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}
	}
	text := func(name, value, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Value: value, Usage: usage, EnvVars: env(name)}
	}
	list := func(name, usage string, values ...string) cli.Flag {
		return &cli.StringSliceFlag{Name: name, Value: cli.NewStringSlice(values...), Usage: usage, EnvVars: env(name)}
	}
	return []cli.Flag{
		text("config", "/etc/agent/config.yaml", "`FILE` with any of these flags as keys; flags and environment win"),
		list("manifests", "`DIR` with pod manifests; may be given more than once", "/etc/agent/manifests"),
		text("images", "/etc/agent/images", "`DIR` whose image archives are imported"),
		text("root", "/var/lib/agent", "`DIR` for what must survive a reboot"),
		text("state", "/run/agent", "`DIR` for what must not; a tmpfs"),
		text("pod-logs", "/var/log/pods", "`DIR` for the logs of containers"),
		text("containerd", containerd.Embedded, "embedded, or the `SOCKET` of a containerd that runs already"),
		text("shim", "", "`PATH` of containerd-shim-runc-v2 for the embedded containerd (default: beside this program)"),
		text("runtime", "", "`PATH` of the OCI runtime (default: runc)"),
		text("shim-group", "pod", "which containers share a shim process: those of a pod, or all of the node"),
		text("pod-infra-container-image", "", "`IMAGE` of the pause container (default: built in)"),
		text("cgroup-driver", "auto", "auto, cgroupfs or systemd"),
		text("cgroup-root", "", "parent `CGROUP` of kubepods"),
		list("cni-bin-dir", "`DIR` with CNI plugins", "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"),
		text("cni-conf-dir", "/etc/agent/cni", "`DIR` with CNI configuration; without one there the agent brings its own"),
		text("bridge", "agent0", "`NAME` of the bridge in the agent's own CNI configuration"),
		text("pod-cidr", "10.87.0.0/16", "pod addresses in the agent's own CNI configuration"),
		list("registry-config", "`DIR` with hosts of registries in containerd's certs.d layout, and config.json with credentials", "/etc/agent/certs.d", "/etc/containerd/certs.d"),
		text("hostname-override", "", "`NAME` of this node (default: the host name)"),
		&cli.Int64Flag{Name: "pod-max-pids", Value: 1024, Usage: "most processes of one pod; 0: no limit", EnvVars: env("pod-max-pids")},
		&cli.DurationFlag{Name: "mass-removal-grace", Value: 30 * time.Second, Usage: "how long the removal of most manifests at once waits", EnvVars: env("mass-removal-grace")},
		&cli.Int64Flag{Name: "container-log-max-size", Value: 10 << 20, Usage: "`BYTES` at which a container's log file is rotated", EnvVars: env("container-log-max-size")},
		&cli.IntFlag{Name: "container-log-max-files", Value: 5, Usage: "log files kept for a container", EnvVars: env("container-log-max-files")},
		text("log-level", "info", "debug, info, warn or error"),
		text("log-format", "console", "console or json"),
	}
}

// loadConfig sets every flag that neither the command line nor the environment set from the configuration file.
func loadConfig(c *cli.Context) error {
	file := c.String("config")
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && !c.IsSet("config") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(b, &values); err != nil {
		return fmt.Errorf("reading the configuration %s: %w", file, err)
	}
	known := map[string]bool{}
	for _, f := range c.Command.Flags {
		known[f.Names()[0]] = true
	}
	for key, value := range values {
		if !known[key] || key == "config" {
			return fmt.Errorf("reading the configuration %s: there is no setting %q (see agent run --help)", file, key)
		}
		if c.IsSet(key) {
			continue
		}
		items, isList := value.([]any)
		if !isList {
			items = []any{value}
		}
		for _, item := range items {
			if err := c.Set(key, fmt.Sprint(item)); err != nil {
				return fmt.Errorf("reading the configuration %s: setting %s: %w", file, key, err)
			}
		}
	}
	return nil
}

// run is the agent.
func run(c *cli.Context) error {
	log, err := newLog(c)
	if err != nil {
		return err
	}
	unlock, err := lock(c.String("root"))
	if err != nil {
		return err
	}
	defer unlock()
	node := c.String("hostname-override")
	if node == "" {
		if node, err = os.Hostname(); err != nil {
			return fmt.Errorf("reading the host name: %w", err)
		}
		node = strings.ToLower(node)
	}
	engine, err := containerd.New(c.Context, engineConfig(c, node, log))
	if err != nil {
		return err
	}
	defer engine.Close()
	sources, err := dirSources(c, node, log)
	if err != nil {
		return err
	}
	manager := podmgr.New(podmgr.Options{Runtime: engine, Sources: sources, NodeName: node, HostIP: hostIP, Log: log})

	g, ctx := errgroup.WithContext(c.Context)
	g.Go(func() error { return manager.Run(ctx) })
	g.Go(func() error { return importImages(ctx, c.String("images"), engine.Images(), log) })
	g.Go(func() error { return notify(ctx, manager) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func engineConfig(c *cli.Context, node string, log zerolog.Logger) containerd.Config {
	return containerd.Config{
		Root: c.String("root"), State: c.String("state"), PodLogs: c.String("pod-logs"),
		Containerd: c.String("containerd"), Shim: c.String("shim"), OCIRuntime: c.String("runtime"),
		ShimPerNode: c.String("shim-group") == "node", PauseImage: c.String("pod-infra-container-image"),
		CgroupDriver: c.String("cgroup-driver"), CgroupRoot: c.String("cgroup-root"), PodPidsLimit: c.Int64("pod-max-pids"),
		CNIBinDirs: c.StringSlice("cni-bin-dir"), CNIConfDir: c.String("cni-conf-dir"), Bridge: c.String("bridge"), PodCIDR: c.String("pod-cidr"),
		RegistryConfig: c.StringSlice("registry-config"), NodeName: node,
		LogMaxSize: c.Int64("container-log-max-size"), LogMaxFiles: c.Int("container-log-max-files"), Log: log,
	}
}

// dirSources makes one source for each manifest directory, with a store of its own.
func dirSources(c *cli.Context, node string, log zerolog.Logger) ([]podmgr.Source, error) {
	var out []podmgr.Source
	for _, d := range c.StringSlice("manifests") {
		abs, err := filepath.Abs(d)
		if err != nil {
			return nil, fmt.Errorf("reading --manifests %q: %w", d, err)
		}
		sum := sha256.Sum256([]byte(abs))
		s, err := dir.New(dir.Config{
			Dir: abs, Create: true, MassRemovalGrace: c.Duration("mass-removal-grace"), MaxFileSize: manifests.MaxFileSize,
			StoreDir: filepath.Join(c.String("root"), "manifests", hex.EncodeToString(sum[:8])),
			Decode: func(file string, data []byte) ([]*manifests.Pod, []manifests.Problem) {
				return manifests.Decode(file, data, manifests.Options{NodeName: node})
			},
			Encode: manifests.Encode, DecodeStored: manifests.DecodeStored, Log: log,
		})
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// importImages imports what lies in the drop-in directory for image archives, now and later.
func importImages(ctx context.Context, drop string, images *containerd.Images, log zerolog.Logger) error {
	return dir.Watch(ctx, drop, dir.IsImageArchive, log, func(ctx context.Context, f dir.File) {
		images.ImportOnce(ctx, f.Path, log)
	})
}

// notify tells systemd, where it is there, that the agent is ready and stays alive.
func notify(ctx context.Context, m *podmgr.Manager) error {
	select {
	case <-m.Ready():
	case <-ctx.Done():
		return nil
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("telling systemd that the agent is ready: %w", err)
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return err
	}
	pet := func() error { _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); return err }
	return health.Watchdog(ctx, interval/2, func(context.Context) error { return nil }, pet)
}

// lock makes this the only agent on root; it says which process holds it otherwise.
func lock(root string) (unlock func(), err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("creating --root: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(root, "agent.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking --root: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := make([]byte, 16)
		n, _ := f.Read(pid)
		_ = f.Close()
		return nil, fmt.Errorf("--root %s is in use by another agent, process %s (stop it, or give this one another --root and --state)", root, strings.TrimSpace(string(pid[:n])))
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("locking --root: %w", err)
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, fmt.Errorf("locking --root: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

func newLog(c *cli.Context) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(c.String("log-level"))
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("reading --log-level: %w", err)
	}
	switch c.String("log-format") {
	case "json":
		return zerolog.New(os.Stderr).Level(level).With().Timestamp().Logger(), nil
	case "console":
		w := zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != "" || !isTerminal(os.Stderr)}
		zerolog.TimeFieldFormat = time.RFC3339Nano
		return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
	}
	return zerolog.Nop(), fmt.Errorf("--log-format %q: want console or json", c.String("log-format"))
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// hostIP is the address of this node towards others; no packet is sent for it.
func hostIP() string {
	c, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return ""
	}
	defer c.Close()
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return a.IP.String()
	}
	return ""
}
