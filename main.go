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
	"strconv"
	"strings"
	"syscall"
	"time"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/metrics"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/containerd"
	"edgepod.dev/agent/podmgr/ctl"
	"edgepod.dev/agent/podmgr/server"
	"edgepod.dev/agent/watcher/dir"
	"edgepod.dev/agent/watcher/kube"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
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
		Flags:           flags(ctl.ClientFlags(), envOf),
		OnUsageError:    usageError,
		Commands: append([]*cli.Command{
			{Name: "run", Usage: "run the pods of the manifest directories and keep them running", Flags: runFlags(), Before: loadConfig, Action: run},
		}, commands(ctl.Commands())...),
	}
}

// commands turns the client's table into commands of the command line.
func commands(table []ctl.Command) (out []*cli.Command) {
	for _, c := range table {
		command := &cli.Command{
			Name: c.Name, Aliases: c.Aliases, Usage: c.Usage, ArgsUsage: c.Args, Hidden: c.Hidden, SkipFlagParsing: c.Raw,
			Flags: flags(c.Flags, noEnv), Subcommands: commands(c.Commands),
		}
		if c.Run != nil {
			command.Action = func(cc *cli.Context) error {
				e, err := env(cc)
				if err != nil {
					return err
				}
				return c.Run(cc.Context, e, ctl.Input{Values: cc, Args: cc.Args().Slice()})
			}
		}
		out = append(out, command)
	}
	return out
}

// noEnv is for flags that no environment variable sets, envOf names the variable of the others.
func noEnv(string) []string { return nil }

func envOf(name string) []string {
	return []string{"AGENT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}
}

// flags turns a table of flags into those of the command line; env names the environment variables of a flag.
func flags(list []ctl.Flag, env func(name string) []string) (out []cli.Flag) {
	for _, f := range list {
		var short []string
		if f.Short != "" {
			short = []string{f.Short}
		}
		switch v := f.Default.(type) {
		case bool:
			out = append(out, &cli.BoolFlag{Name: f.Name, Aliases: short, Usage: f.Usage, EnvVars: env(f.Name), Value: v})
		case string:
			out = append(out, &cli.StringFlag{Name: f.Name, Aliases: short, Usage: f.Usage, EnvVars: env(f.Name), Value: v})
		case int64:
			out = append(out, &cli.Int64Flag{Name: f.Name, Aliases: short, Usage: f.Usage, EnvVars: env(f.Name), Value: v})
		case time.Duration:
			out = append(out, &cli.DurationFlag{Name: f.Name, Aliases: short, Usage: f.Usage, EnvVars: env(f.Name), Value: v})
		case []string:
			out = append(out, &cli.StringSliceFlag{Name: f.Name, Aliases: short, Usage: f.Usage, EnvVars: env(f.Name), Value: cli.NewStringSlice(v...)})
		}
	}
	return out
}

// env is what a command of the client runs in.
func env(c *cli.Context) (ctl.Env, error) {
	e := ctl.Env{
		Streams: ctl.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, Version: ctl.Version(clientVersion()),
		Client: ctl.NewClient(c.String("socket")),
		Check: ctl.CheckOptions{
			Root: "/var/lib/agent", State: filepath.Dir(c.String("socket")), Manifests: []string{"/etc/agent/manifests"},
			CNIBinDirs: []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"},
		},
	}
	if url := c.String("server"); url != "" {
		var err error
		e.Client, err = ctl.NewRemoteClient(ctl.RemoteOptions{
			URL: url, Token: c.String("token"), CAFile: c.String("certificate-authority"), CertFile: c.String("client-certificate"),
			KeyFile: c.String("client-key"), Insecure: c.Bool("insecure-skip-tls-verify"),
		})
		return e, err
	}
	return e, nil
}

func usageError(_ *cli.Context, err error, _ bool) error { return ctl.UsageError(err.Error()) }

// runFlags are the flags of `agent run`; each is also a key of the configuration file and an environment variable.
func runFlags() []cli.Flag {
	list := ctl.RunFlags()
	for _, f := range kube.Flags() {
		list = append(list, ctl.Flag(f))
	}
	return flags(list, envOf)
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
	known := map[string]string{} // the names of flags, aliases too, and which flag they are
	for _, f := range c.Command.Flags {
		for _, name := range f.Names() {
			known[name] = f.Names()[0]
		}
	}
	for key, value := range values {
		if known[key] == "" || key == "config" {
			return fmt.Errorf("reading the configuration %s: there is no setting %q (see agent run --help)", file, key)
		}
		if c.IsSet(known[key]) {
			continue
		}
		for _, item := range ctl.SettingItems(value) {
			if err := c.Set(known[key], item); err != nil {
				return fmt.Errorf("reading the configuration %s: setting %s: %w", file, key, err)
			}
		}
	}
	return nil
}

// run is the agent.
func run(c *cli.Context) error {
	log, err := server.NewLog(c.String("log-level"), c.String("log-format"), os.Stderr)
	if err != nil {
		return err
	}
	cluster, err := kube.Read(c)
	if err != nil {
		return err
	}
	unlock, err := containerd.Lock(c.String("root"))
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
	sources, err := dirSources(c, manifests.Options{NodeName: node, RuntimeClasses: engine.RuntimeClasses()}, log)
	if err != nil {
		return err
	}
	late := &parts{}
	member, err := joinCluster(cluster, c, engine, node, late, log)
	if err != nil {
		return err
	}
	if member != nil {
		sources = append(sources, member.Pods())
	}
	recorder := metrics.NewRecorder()
	manager := podmgr.New(podmgr.Options{
		Runtime: engine, Sources: sources, NodeName: node, HostIP: cluster.HostIP(containerd.NodeIP), Log: log, EventFile: filepath.Join(c.String("root"), "events.json"), MaxRestartPeriod: c.Duration("max-container-restart-period"),
		Hooks: podmgr.Hooks{
			Operated: recorder.RuntimeOperation, Pulled: recorder.ImagePulled, StartFailed: recorder.ContainerStartFailed,
			Waited: recorder.PodWorkerStarted, Worked: recorder.PodWorked, Probed: recorder.Probed,
		},
	})
	server.RouteKlog(log)
	engine.ReapExecs(c.Context)
	api := server.New(server.Config{
		Containers: engine.Guests(), HostLogs: "/var/log", Checks: []health.Named{engine.Health()}, Configz: func() any { return settings(c) }, Restart: manager.Restart, Ready: manager.Ready(),
		Board: manager.Board(), Images: engine.Images(), Logs: engine.Logs(), NodeName: node, Log: log,
		Version: func(ctx context.Context) server.Version { return serverVersion(ctx, engine) }, Requested: recorder.Request,
		Node: func(ctx context.Context) (*v1.Node, error) {
			if member != nil && member.Object() != nil {
				return member.Object(), nil
			}
			return engine.Node(ctx, version)
		},
		Healthy: func(ctx context.Context) error { return health.All(ctx, 5*time.Second, engine.Health()) },
	})
	door, err := tlsConfig(c, cluster, member, node)
	if err != nil {
		return err
	}
	measure, closeTraces, err := metricsFor(c, engine, manager, api, recorder, node, log)
	if err != nil {
		return err
	}
	defer closeTraces()
	late.manager, late.measure = manager, measure
	listener, err := server.Listen(filepath.Join(c.String("state"), "agent.sock"))
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(c.Context)
	g.Go(func() error { return api.Run(ctx, listener) })
	if door.Enabled() && int(c.Int64("port")) != 0 {
		g.Go(func() error { return api.RunTLS(ctx, door) })
	}
	if member != nil {
		g.Go(func() error { return member.Run(ctx) })
	}
	g.Go(func() error { return manager.Run(ctx) })
	g.Go(func() error { return measure.Run(ctx) })
	g.Go(func() error { return health.Quiet(ctx, manager.Board().Changed, 10*time.Second, health.Release) })
	g.Go(func() error { return importImages(ctx, c.String("images"), engine.Images(), manager, log) })
	g.Go(func() error { return notify(ctx, manager, engine) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// metricsFor measures the pods on the board and serves what it finds.
func metricsFor(c *cli.Context, engine *containerd.Runtime, m *podmgr.Manager, api *server.Server, r *metrics.Recorder, node string, log zerolog.Logger) (*metrics.Metrics, func(), error) {
	tracer, closeTraces, err := metrics.OpenTracer(c.Context, c.String("otlp-endpoint"), node, version, log)
	if err != nil {
		return nil, nil, err
	}
	x, err := metrics.New(metrics.Config{
		Tracer: tracer, Images: func(ctx context.Context) (sum metrics.Images, err error) {
			sum.Count, sum.Pinned, sum.Bytes, err = engine.Images().Sum(ctx)
			return sum, err
		},
		NodeName: node, Version: version, Housekeeping: c.Duration("housekeeping-interval"), Socket: engine.Address(), Namespace: "agent",
		CgroupRoot: c.String("cgroup-root"), Root: c.String("root"), ImageRoot: c.String("root"), PodLogs: c.String("pod-logs"),
		Changed: m.Board().Changed, Problems: m.Board().Problems, VolumeDir: engine.VolumeDir, Log: log,
		Pods: func() (pods []metrics.Pod) {
			for _, e := range m.Board().List() {
				p := metrics.Pod{Key: e.Key, Status: &e.Status, Deleted: e.Deleted}
				if e.Pod != nil {
					p.Object, p.FromAPI = e.Pod.Object, e.Pod.Document == nil
				}
				pods = append(pods, p)
			}
			return pods
		},
	}, r)
	if err != nil {
		return nil, nil, err
	}
	api.HandleNumbers(server.Numbers{
		Agent: x.AgentHandler(), Cadvisor: x.CadvisorHandler(), Resource: x.ResourceHandler(), Probes: x.ProbesHandler(), Summary: x.SummaryHandler(),
	})
	return x, closeTraces, nil
}

func engineConfig(c *cli.Context, node string, log zerolog.Logger) containerd.Config {
	return containerd.Config{
		Root: c.String("root"), State: c.String("state"), PodLogs: c.String("pod-logs"),
		Containerd: c.String("containerd"), Shim: c.String("shim"), OCIRuntime: c.String("runtime"),
		ShimPerNode: c.String("shim-group") == "node", PauseImage: c.String("pod-infra-container-image"),
		CgroupDriver: c.String("cgroup-driver"), CgroupRoot: c.String("cgroup-root"), PodPidsLimit: c.Int64("pod-max-pids"),
		CNIBinDirs: c.StringSlice("cni-bin-dir"), CNIConfDir: c.String("cni-conf-dir"), Bridge: c.String("bridge"), PodCIDR: c.String("pod-cidr"),
		AgentCgroup: c.String("agent-cgroups"), Hairpin: c.String("hairpin-mode"), ClusterDNS: kube.List(c, "cluster-dns"), ClusterDomain: c.String("cluster-domain"), SerialPulls: c.Bool("serialize-image-pulls"),
		RegistryConfig: c.StringSlice("registry-config"), NodeName: node, UnsafeSysctls: c.StringSlice("allowed-unsafe-sysctls"), RuntimeClasses: c.StringSlice("runtime-class"),
		LogMaxSize: c.Int64("container-log-max-size"), LogMaxFiles: int(c.Int64("container-log-max-files")), Log: log,
	}
}

// dirSources makes one source for each manifest directory, with a store of its own.
func dirSources(c *cli.Context, of manifests.Options, log zerolog.Logger) ([]podmgr.Source, error) {
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
			Codec:    dir.NewCodec(of), Log: log,
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

// notify tells systemd, where it is there, that the agent is ready and stays alive. Of a cluster's pods nothing may be known
// for as long as the link is down, and one pod whose shim hangs never is seen: no reason to have systemd wait, and kill.
func notify(ctx context.Context, m *podmgr.Manager, engine *containerd.Runtime) error {
	select {
	case <-time.After(10 * time.Second):
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

// settings are what the agent was started with, as /configz shows them.
func settings(c *cli.Context) map[string]any {
	out := map[string]any{}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if _, isList := f.(*cli.StringSliceFlag); isList {
			out[name] = c.StringSlice(name)
		} else {
			out[name] = c.Value(name)
		}
	}
	return out
}

// parts are what a node of a cluster reads once it runs, and what is made after it.
type parts struct {
	manager *podmgr.Manager
	measure *metrics.Metrics
}

// joinCluster makes the agent a node of a cluster; nil without the flags for that.
func joinCluster(config kube.Config, c *cli.Context, engine *containerd.Runtime, node string, late *parts, log zerolog.Logger) (*kube.Node, error) {
	if !config.Enabled() {
		return nil, nil
	}
	return kube.New(config, kube.Host{
		Name: node, Version: version, KubeletVersion: kube.KubeletVersion(version), Root: c.String("root"), Log: log,
		RuntimeVersion: engine.EngineVersion, Runtime: engine.Health().Check, Images: engine.Images().OfNode, Handlers: engine.Handlers,
		Summary: func(ctx context.Context) (*statsapi.Summary, error) { return late.measure.Summary(ctx, false) },
	}, kube.Board{
		Entries: func() (out []kube.Entry) {
			for _, e := range late.manager.Board().List() {
				deleted := !e.Deleted.IsZero() || e.Pod != nil && e.Pod.Object.DeletionTimestamp != nil
				out = append(out, kube.Entry{Key: e.Key, Pod: e.Pod, Source: e.Source, Status: &e.Status, Deleted: deleted, Gone: e.Gone})
			}
			return out
		},
		Events: func() (out []kube.Event) {
			for _, e := range late.manager.Board().Events(manifests.Key{}) {
				out = append(out, kube.Event(e))
			}
			return out
		},
		Changed: func() <-chan struct{} { return late.manager.Board().Changed() }, Ready: func() <-chan struct{} { return late.manager.Ready() },
		Record: func(e kube.Event) { late.manager.Board().Record(podmgr.Event(e)) },
	})
}

func tlsConfig(c *cli.Context, cluster kube.Config, member *kube.Node, node string) (server.TLSConfig, error) {
	grants, err := server.ParseGrants(c.StringSlice("access"))
	out := server.TLSConfig{
		Address: net.JoinHostPort(c.String("address"), strconv.Itoa(int(c.Int64("port")))), PKIDir: filepath.Join(c.String("root"), "pki"),
		CertFile: c.String("tls-cert-file"), KeyFile: c.String("tls-private-key-file"),
		ClientCAFile: c.String("client-ca-file"), TokenFile: c.String("token-auth-file"), Authorizer: grants,
	}
	if member != nil {
		out.Certificate = member.ServingCertificate
		// Without a client CA, tokens are all that could let the API server's users in.
		if cluster.Access.TokenWebhook || out.ClientCAFile == "" {
			out.Authenticators = append(out.Authenticators, server.ReviewedTokens{Reviewer: member})
		}
		out.Authorizer = server.Any{grants, server.ReviewedAccess{Reviewer: member, NodeName: node}}
	}
	if cluster.Access.Mode == kube.ModeAlwaysAllow {
		out.Authorizer = server.Everybody{}
	}
	return out, err
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
