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
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/containerd"
	"edgepod.dev/agent/podmgr/ctl"
	"edgepod.dev/agent/podmgr/server"
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
	err := app().RunContext(ctx, flagsFirst(app().Commands, os.Args))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(ctl.ExitCode(err))
	}
}

// flagsFirst lets flags stand anywhere behind the command.
func flagsFirst(commands []*cli.Command, args []string) []string {
	for i := 1; i < len(args); i++ {
		for _, c := range commands {
			if !c.HasName(args[i]) {
				continue
			}
			if len(c.Subcommands) > 0 {
				return append(args[:i:i], flagsFirst(c.Subcommands, args[i:])...)
			}
			return append(args[:i+1:i+1], ctl.FlagsFirst(args[i+1:], func(name string) (known, value bool) {
				for _, f := range c.Flags {
					if slices.Contains(f.Names(), name) {
						_, isBool := f.(*cli.BoolFlag)
						return true, !isBool
					}
				}
				return false, false
			})...)
		}
	}
	return args
}

func app() *cli.App {
	return &cli.App{
		Name:            "agent",
		Usage:           "run Kubernetes pods from manifest files, without a control plane",
		Version:         version,
		HideVersion:     true,
		HideHelpCommand: true,
		Flags: []cli.Flag{&cli.StringFlag{
			Name: "socket", Value: "/run/agent/agent.sock", Usage: "`PATH` of the running agent's socket", EnvVars: []string{"AGENT_SOCKET"},
		}},
		OnUsageError: usageError,
		Commands: []*cli.Command{
			{Name: "run", Usage: "run the pods of the manifest directories and keep them running", Flags: runFlags(), Before: loadConfig, Action: run},
			getCommand(),
			{Name: "describe", Usage: "show all there is to know of a pod", Subcommands: []*cli.Command{
				{Name: "pod", Aliases: []string{"pods", "po"}, ArgsUsage: "NAME", Flags: []cli.Flag{namespaceFlag()}, Action: describe},
			}},
			logsCommand(),
			{Name: "validate", Usage: "check manifests without running them", ArgsUsage: "FILE|DIR|- ...", Action: func(c *cli.Context) error {
				return ctl.Validate(streams(), "", c.Args().Slice())
			}},
			imagesCommand(),
			{Name: "version", Usage: "show the versions of this program and of the running agent", Flags: []cli.Flag{outputFlag("json or yaml")}, Action: func(c *cli.Context) error {
				return ctl.PrintVersion(c.Context, client(c), streams(), ctl.Version(clientVersion()), c.String("output"))
			}},
		},
	}
}

func usageError(_ *cli.Context, err error, _ bool) error { return ctl.UsageError(err.Error()) }

func client(c *cli.Context) *ctl.Client { return ctl.NewClient(c.String("socket")) }

func streams() ctl.Streams { return ctl.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

func namespaceFlag() cli.Flag {
	return &cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "`NAMESPACE` to look in (default: default)"}
}

func outputFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: usage}
}

func getCommand() *cli.Command {
	what := func(name, usage string, aliases []string, print func(context.Context, *ctl.Client, ctl.Streams, ctl.GetOptions) error) *cli.Command {
		return &cli.Command{
			Name: name, Aliases: aliases, Usage: usage, ArgsUsage: "[NAME ...]",
			Flags: []cli.Flag{
				namespaceFlag(),
				&cli.BoolFlag{Name: "all-namespaces", Aliases: []string{"A"}, Usage: "look in all namespaces"},
				&cli.StringFlag{Name: "selector", Aliases: []string{"l"}, Usage: "only what has these `LABELS`"},
				outputFlag("wide, json, yaml or name"),
				&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "go on and show changes"},
				&cli.BoolFlag{Name: "no-headers", Usage: "leave the header line out"},
			},
			Action: func(c *cli.Context) error {
				return print(c.Context, client(c), streams(), ctl.GetOptions{
					Namespace: c.String("namespace"), AllNamespaces: c.Bool("all-namespaces"), Selector: c.String("selector"),
					Names: c.Args().Slice(), Output: c.String("output"), Watch: c.Bool("watch"), NoHeaders: c.Bool("no-headers"),
				})
			},
		}
	}
	return &cli.Command{Name: "get", Usage: "list pods, events, images or manifest problems", Subcommands: []*cli.Command{
		what("pods", "list pods", []string{"pod", "po"}, ctl.GetPods),
		what("events", "list what happened to pods", []string{"event", "ev"}, ctl.GetEvents),
		what("images", "list images", []string{"image"}, ctl.GetImages),
		what("problems", "list what is wrong with manifests", []string{"problem"}, ctl.GetProblems),
	}}
}

func describe(c *cli.Context) error {
	if c.NArg() != 1 {
		return ctl.UsageError("describe pod wants the name of one pod")
	}
	return ctl.DescribePod(c.Context, client(c), streams(), c.String("namespace"), c.Args().First())
}

func logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "print what the containers of a pod printed", ArgsUsage: "POD [CONTAINER]",
		Flags: []cli.Flag{
			namespaceFlag(),
			&cli.StringFlag{Name: "container", Aliases: []string{"c"}, Usage: "`CONTAINER` of the pod"},
			&cli.BoolFlag{Name: "all-containers", Usage: "all containers of the pod"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what will be printed"},
			&cli.BoolFlag{Name: "previous", Aliases: []string{"p"}, Usage: "the instance before the current one"},
			&cli.BoolFlag{Name: "timestamps", Usage: "begin lines with their time"},
			&cli.BoolFlag{Name: "prefix", Usage: "begin lines with pod and container"},
			&cli.Int64Flag{Name: "tail", Value: -1, Usage: "only the last `LINES`"},
			&cli.Int64Flag{Name: "limit-bytes", Usage: "at most so many `BYTES`"},
			&cli.DurationFlag{Name: "since", Usage: "only what is not older, such as 5m"},
			&cli.StringFlag{Name: "since-time", Usage: "only what was printed after this `TIME` (RFC 3339)"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return ctl.UsageError("logs wants the name of one pod")
			}
			container := c.String("container")
			if c.NArg() == 2 {
				container = c.Args().Get(1)
			}
			return ctl.Logs(c.Context, client(c), streams(), ctl.LogsOptions{
				Namespace: c.String("namespace"), Pod: c.Args().First(), Container: container, AllContainers: c.Bool("all-containers"),
				Follow: c.Bool("follow"), Previous: c.Bool("previous"), Timestamps: c.Bool("timestamps"), Prefix: c.Bool("prefix"),
				Tail: c.Int64("tail"), LimitBytes: c.Int64("limit-bytes"), Since: c.Duration("since"), SinceTime: c.String("since-time"),
			})
		},
	}
}

func imagesCommand() *cli.Command {
	return &cli.Command{Name: "images", Usage: "list, pull, import and remove images", Subcommands: []*cli.Command{
		{Name: "ls", Aliases: []string{"list"}, Usage: "list images", Flags: []cli.Flag{outputFlag("wide, json, yaml or name")}, Action: func(c *cli.Context) error {
			return ctl.GetImages(c.Context, client(c), streams(), ctl.GetOptions{Output: c.String("output"), Names: c.Args().Slice()})
		}},
		{Name: "pull", Usage: "fetch an image from its registry", ArgsUsage: "REFERENCE", Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return ctl.UsageError("images pull wants one reference")
			}
			return ctl.PullImage(c.Context, client(c), streams(), c.Args().First())
		}},
		{Name: "import", Usage: "import an OCI or docker archive", ArgsUsage: "FILE|-", Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return ctl.UsageError("images import wants one file")
			}
			return ctl.ImportImages(c.Context, client(c), streams(), c.Args().First())
		}},
		{Name: "rm", Aliases: []string{"remove"}, Usage: "remove images", ArgsUsage: "REFERENCE ...", Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "also images that a manifest names"},
		}, Action: func(c *cli.Context) error {
			return ctl.RemoveImages(c.Context, client(c), streams(), c.Args().Slice(), c.Bool("force"))
		}},
	}}
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

	api := server.New(server.Config{
		Board: manager.Board(), Images: engine.Images(), Logs: engine.Logs(), NodeName: node, Log: log,
		Version: func(ctx context.Context) server.Version { return serverVersion(ctx, engine) },
		Healthy: func(ctx context.Context) error { return health.All(ctx, 5*time.Second, engine.Health()) },
	})
	listener, err := server.Listen(filepath.Join(c.String("state"), "agent.sock"))
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(c.Context)
	g.Go(func() error { return api.Run(ctx, listener) })
	g.Go(func() error { return manager.Run(ctx) })
	g.Go(func() error { return importImages(ctx, c.String("images"), engine.Images(), manager, log) })
	g.Go(func() error { return notify(ctx, manager, engine) })
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
	grace := c.Duration("mass-removal-grace")
	if grace == 0 {
		grace = -1 // 0 is the source's default
	}
	for _, d := range c.StringSlice("manifests") {
		abs, err := filepath.Abs(d)
		if err != nil {
			return nil, fmt.Errorf("reading --manifests %q: %w", d, err)
		}
		sum := sha256.Sum256([]byte(abs))
		s, err := dir.New(dir.Config{
			Dir: abs, Create: true, MassRemovalGrace: grace, MaxFileSize: manifests.MaxFileSize,
			StoreDir: filepath.Join(c.String("root"), "manifests", hex.EncodeToString(sum[:8])),
			Codec: dir.NewCodec(node), Log: log,
		})
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// importImages imports what lies in the drop-in directory for image archives, now and later.
func importImages(ctx context.Context, drop string, images *containerd.Images, m *podmgr.Manager, log zerolog.Logger) error {
	return dir.Watch(ctx, drop, dir.IsImageArchive, log, func(ctx context.Context, f dir.File) {
		images.ImportOnce(ctx, f.Path, log)
		m.ImagesCame()
	})
}

// notify tells systemd, where it is there, that the agent is ready and stays alive.
func notify(ctx context.Context, m *podmgr.Manager, engine *containerd.Runtime) error {
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
	check := func(ctx context.Context) error { return health.All(ctx, interval/4, engine.Health()) }
	return health.Watchdog(ctx, interval/2, check, pet)
}

func clientVersion() server.Version {
	v := server.Version{Agent: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return v
}

func serverVersion(ctx context.Context, engine *containerd.Runtime) server.Version {
	v := clientVersion()
	v.Containerd, v.Runtime = engine.Versions(ctx)
	return v
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
