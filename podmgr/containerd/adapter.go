package containerd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/version"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
)

// namespace is our containerd namespace; we never look into another.
const namespace = "agent"

// Embedded as Config.Containerd runs containerd in this process.
const Embedded = "embedded"

// Config says where and how containers run. Directories are absolute.
type Config struct {
	Root    string // persistent: containerd's data, volumes
	State   string // tmpfs: namespaces, FIFOs, sockets; lost at a reboot
	PodLogs string // CRI log files

	Containerd string // Embedded or the path of a containerd socket
	Shim       string // shim of the embedded engine; empty: beside this executable
	OCIRuntime string // OCI runtime binary; empty: runc from $PATH
	// ShimPerNode makes all pods share one shim process (less memory, one point of failure).
	ShimPerNode bool
	// PauseImage replaces the built-in pause by an image.
	PauseImage string

	CgroupDriver string // auto, cgroupfs or systemd
	CgroupRoot   string // parent of kubepods, such as "/"
	AgentCgroup  string // that this process moves into; empty: it stays where it is

	CNIBinDirs []string
	CNIConfDir string
	Bridge     string // name of the bridge in the agent's own CNI configuration
	PodCIDR    string
	// Hairpin is how a pod reaches itself through the agent's own bridge: "hairpin-veth" (also when empty),
	// "promiscuous-bridge" or "none".
	Hairpin string

	// ClusterDNS are the servers of pods with dnsPolicy ClusterFirst, ClusterDomain what they search in, such as
	// cluster.local. Without servers ClusterFirst means Default.
	ClusterDNS    []string
	ClusterDomain string
	// ResolvConf is the node's resolv.conf for pods; empty: /etc/resolv.conf, or what systemd-resolved has behind it.
	ResolvConf string

	RegistryConfig []string // certs.d directories, first match wins
	SerialPulls    bool     // one image at a time
	NodeName       string
	PodPidsLimit   int64 // most processes of one pod; 0: no limit
	// UnsafeSysctls are sysctls, or patterns ending in *, that pods may set beside the safe ones.
	UnsafeSysctls []string
	// RuntimeClasses are NAME=RUNTIME[:BINARY]: what spec.runtimeClassName may name.
	RuntimeClasses []string

	LogMaxSize  int64 // bytes of one log file
	LogMaxFiles int
	Log         zerolog.Logger
}

// Runtime implements podmgr.Runtime and podmgr.Images on containerd.
type Runtime struct {
	cfg         Config
	log         zerolog.Logger
	engine      *engine
	client      *client.Client
	snapshotter string
	boot        string // boot ID of this boot
	limits      hostLimits
	features    func() runtimeFeatures // of the OCI runtime, asked once and only when needed
	handlers    map[string]handler     // by RuntimeClass
	cgroups     cgroups
	network     *network
	images      *images
	pauses      *pauses
	bringing    bringing
	logs        *logPump
	index       *index
	exits       *exits
	notes       *notes
	ports       *portBook
	nudges      chan manifests.Key // pods to look at again; see nudge

	// slots bounds how many sandboxes and containers are made at once: more than the cores can carry only makes all late.
	slots chan struct{}
	// pauseFile is held while the built-in pause is written.
	pauseFile sync.Mutex
	// releasing holds a channel for each container whose task is being deleted, closed when it is.
	releasing sync.Map
	// volumes holds a lock for each pod's volumes, by types.UID.
	volumes sync.Map
	// storage holds each pod's limits on the disk (*storageLimits), by types.UID.
	storage sync.Map
	// allocatable is what a container without limits may use.
	allocatable v1.ResourceList
	// kills is held while a kill for want of memory is told to the containers of its pod.
	kills sync.Mutex
	// lives is held while a pod's directory is made, or the name of its sandbox's life is chosen.
	lives sync.Mutex
	// making holds the IDs of containers that Start works on: they may lack a record without being lost.
	making sync.Map
	// given holds what cgroups were given last (*podmgr.Resources, nil when not known), by container and sandbox ID.
	given sync.Map
	// leased remembers the leases (types.UID) and leased images (leasedImage, with their digest.Digest) that exist, to save
	// database writes.
	leased sync.Map

	background sync.WaitGroup // goroutines that Close joins
	stop       context.CancelFunc
}

// New starts or connects the engine and adopts what runs: logs are read again before it returns.
func New(ctx context.Context, cfg Config) (*Runtime, error) {
	if err := moveSelf(cfg.AgentCgroup); err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if err := checkUnsafeSysctls(cfg.UnsafeSysctls); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Root, filepath.Join(cfg.Root, "pods")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("creating the agent's directories: %w", err)
		}
	}
	if err := os.MkdirAll(cfg.State, 0o711); err != nil {
		return nil, fmt.Errorf("creating the agent's directories: %w", err)
	}
	if err := cleanStaleState(cfg.State, boot); err != nil {
		return nil, err
	}
	handlers, err := parseHandlers(cfg.RuntimeClasses)
	if err != nil {
		return nil, err
	}
	if err := ownTempMounts(cfg.State, cfg.Log); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &Runtime{cfg: cfg, log: cfg.Log, boot: boot, limits: readHostLimits(), handlers: handlers, stop: stop, exits: newExits(), notes: newNotes(), ports: newPortBook(), nudges: make(chan manifests.Key, 64)}
	r.allocatable = nodeResources(runtime.NumCPU(), memoryCapacity())
	r.features = sync.OnceValue(func() runtimeFeatures { return readRuntimeFeatures(cfg.OCIRuntime) })
	r.slots = make(chan struct{}, max(4, 2*runtime.NumCPU()))
	if err := r.open(run); err != nil {
		stop()
		if r.engine != nil {
			r.engine.close()
		}
		return nil, err
	}
	return r, nil
}

func (r *Runtime) open(ctx context.Context) (err error) {
	// The parts that need no engine are set up while it starts.
	type built struct {
		engine *engine
		err    error
	}
	routeContainerdLogs(r.log)
	r.exits.readBundles(r.cfg.State)
	defer holdOutputs(r.cfg.State)()
	started := make(chan built, 1)
	go func() {
		var b built
		if r.cfg.Containerd == "" || r.cfg.Containerd == Embedded {
			b.engine, b.err = startEmbedded(ctx, r.cfg)
		} else {
			b.engine, b.err = connect(r.cfg.Containerd)
		}
		started <- b
	}()
	r.cgroups, err = newCgroups(r.cfg, r.limits)
	if err == nil {
		r.network, err = newNetwork(r.cfg, r.log)
	}
	b := <-started
	r.engine = b.engine
	if b.err != nil {
		return b.err
	}
	if err != nil {
		return err
	}
	r.client = r.engine.client
	if r.snapshotter, err = chooseSnapshotter(r.cfg.Root); err != nil {
		return err
	}
	r.images = newImages(r.client, r.cfg, r.snapshotter, r.log)
	r.pauses = newPauses()
	r.logs = newLogPump(r.cfg.PodLogs, logs.Options{MaxSize: r.cfg.LogMaxSize, MaxFiles: r.cfg.LogMaxFiles}, r.log)
	r.index = newIndex()
	if err := r.relist(ctx); err != nil {
		return err
	}
	r.holdPorts()
	r.sweepContainers(ctx)
	r.sweepLeases(ctx)
	kill(childlessShims(r.engine.address), r.log)
	r.background.Go(func() { r.sweepLate(ctx) })
	r.background.Go(func() { r.watchStorage(ctx) })
	r.attachLogs(r.ns(ctx))
	if r.network.own {
		r.background.Go(func() { r.network.masquerade(ctx) })
	}
	return nil
}

// Close lets go of the engine; containers run on.
func (r *Runtime) Close() {
	r.stop()
	r.pauses.wait()
	r.background.Wait()
	r.logs.close()
	r.engine.close()
}

// Address is the socket by which other tools (ctr, nerdctl, cAdvisor) reach the engine.
func (r *Runtime) Address() string { return r.engine.address }

// Logs lets readers follow what containers write.
func (r *Runtime) Logs() *logs.Hub { return r.logs.hub }

// EngineVersion is the version of containerd; empty when it does not answer.
func (r *Runtime) EngineVersion(ctx context.Context) string {
	if r.engine.embedded() {
		return version.Version
	}
	v, err := r.client.Version(r.ns(ctx))
	if err != nil {
		return ""
	}
	return v.Version
}

// Versions returns the versions of the engine and of the OCI runtime; one that does not answer is empty.
func (r *Runtime) Versions(ctx context.Context) (engine, oci string) {
	engine = r.EngineVersion(ctx)
	binary := r.cfg.OCIRuntime
	if binary == "" {
		binary = "runc"
	}
	if out, err := exec.CommandContext(ctx, binary, "--version").Output(); err == nil {
		oci, _, _ = strings.Cut(string(out), "\n")
	}
	return engine, oci
}

// Health says whether the engine answers.
func (r *Runtime) Health() health.Named {
	return health.Named{Name: "containerd", Check: func(ctx context.Context) error {
		_, err := r.client.ContainerService().List(r.ns(ctx), "id==none")
		if err != nil {
			return fmt.Errorf("asking containerd: %w", err)
		}
		return nil
	}}
}

// slotLimit is how long a start counts as one that works. One that takes longer waits for something, a CNI plugin or a runtime
// that hangs, and must not keep the pods of others waiting.
const slotLimit = 5 * time.Second

// slot waits for one of the places for making something; free gives it back.
func (r *Runtime) slot(ctx context.Context) (free func(), err error) {
	select {
	case r.slots <- struct{}{}:
		once := sync.OnceFunc(func() { <-r.slots })
		t := time.AfterFunc(slotLimit, once)
		return func() { t.Stop(); once() }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *Runtime) ns(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, namespace)
}

// bootID reads the kernel's boot ID: it changes at every reboot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// cleanStaleState removes what an earlier boot left in a state directory that is not on a tmpfs. Mounts cannot have
// survived a boot, but a test that only pretends to reboot has them: they are unmounted first.
func cleanStaleState(state, boot string) error {
	mark := filepath.Join(state, "boot-id")
	old, err := os.ReadFile(mark)
	if err == nil && string(old) == boot {
		return nil
	}
	for _, dir := range []string{"pods", "containers", "cni", "containerd", "s"} {
		if err := removeTree(filepath.Join(state, dir)); err != nil {
			return fmt.Errorf("removing state of an earlier boot: %w", err)
		}
	}
	if err := os.WriteFile(mark, []byte(boot), 0o600); err != nil {
		return fmt.Errorf("writing the boot mark: %w", err)
	}
	return nil
}

// cleanup is the context for what has to be undone although ctx has ended.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

var _ podmgr.Runtime = (*Runtime)(nil)
