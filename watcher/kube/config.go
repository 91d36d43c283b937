package kube

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Config is what the flags say.
type Config struct {
	Credentials Credentials
	Node        NodeConfig
	Eviction    EvictionConfig
	Access      AccessConfig
	Offline     OfflineConfig
}

// Credentials say how the API server is reached.
type Credentials struct {
	Kubeconfig, Bootstrap string
	// CertDir holds the certificates that the agent was given by the API server.
	CertDir string
	// RotateClient and RotateServer let the agent ask for new ones.
	RotateClient, RotateServer bool
}

// NodeConfig describes the Node object.
type NodeConfig struct {
	Register                 bool
	Labels                   map[string]string
	Taints                   []v1.Taint
	IPs                      []net.IP // none, one, or one of each family
	MaxPods                  int64
	Port                     int32 // of the server, for daemonEndpoints
	UpdateEvery, ReportEvery time.Duration
	// SystemReserved and KubeReserved are taken off what pods may have.
	SystemReserved, KubeReserved v1.ResourceList
}

// EvictionConfig says when pods have to go for the node's sake.
type EvictionConfig struct {
	Hard       []Threshold
	Transition time.Duration
}

// Threshold is one of --eviction-hard: the signal is below Quantity, or below Percent of its capacity.
type Threshold struct {
	Signal   string
	Quantity resource.Quantity
	Percent  float64 // 0: Quantity counts
}

// AccessConfig says who is asked about callers of the server.
type AccessConfig struct {
	TokenWebhook bool
	Mode         string // ModeWebhook or ModeAlwaysAllow
}

// The values of --authorization-mode.
const (
	ModeWebhook     = "Webhook"
	ModeAlwaysAllow = "AlwaysAllow"
)

// OfflineConfig says what is kept for a start without the API server.
type OfflineConfig struct {
	Keep    bool
	KeyFile string
}

// Enabled says whether this is API-server mode.
func (c Config) Enabled() bool {
	return c.Credentials.Kubeconfig != "" || c.Credentials.Bootstrap != ""
}

// HostIP returns what answers for the node's address: the one of --node-ip, or fallback without one.
func (c Config) HostIP(fallback func() string) func() string {
	for _, ip := range c.Node.IPs {
		if !ip.IsUnspecified() {
			return func() string { return ip.String() }
		}
	}
	return fallback
}

// errNone says that client-go is not in this binary.
var errNone = errors.New("this agent was built without API-server mode (tag nokube): --kubeconfig and --bootstrap-kubeconfig do nothing here")

// Read takes the configuration from the flags.
func Read(v Values) (Config, error) {
	c := Config{
		Credentials: Credentials{
			Kubeconfig: v.String("kubeconfig"), Bootstrap: v.String("bootstrap-kubeconfig"),
			CertDir:      orDefault(v.String("cert-dir"), filepath.Join(v.String("root"), "pki")),
			RotateClient: v.Bool("rotate-certificates"), RotateServer: v.Bool("rotate-server-certificates"),
		},
		Node: NodeConfig{
			Register: v.Bool("register-node"), MaxPods: v.Int64("max-pods"), Port: int32(v.Int64("port")),
			UpdateEvery: v.Duration("node-status-update-frequency"), ReportEvery: v.Duration("node-status-report-frequency"),
		},
		Eviction: EvictionConfig{Transition: v.Duration("eviction-pressure-transition-period")},
		Access:   AccessConfig{TokenWebhook: v.Bool("authentication-token-webhook"), Mode: v.String("authorization-mode")},
		Offline:  OfflineConfig{Keep: v.Bool("offline-pods"), KeyFile: v.String("offline-key-file")},
	}
	var errs []error
	note := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("reading --%s: %w", flag, err))
		}
	}
	var err error
	c.Node.Labels, err = readLabels(List(v, "node-labels"))
	note("node-labels", err)
	c.Node.Taints, err = readTaints(List(v, "register-with-taints"))
	note("register-with-taints", err)
	c.Node.IPs, err = readIPs(List(v, "node-ip"))
	note("node-ip", err)
	c.Node.SystemReserved, err = readReserved(List(v, "system-reserved"))
	note("system-reserved", err)
	c.Node.KubeReserved, err = readReserved(List(v, "kube-reserved"))
	note("kube-reserved", err)
	c.Eviction.Hard, err = readThresholds(List(v, "eviction-hard"))
	note("eviction-hard", err)
	note("authorization-mode", oneOf(c.Access.Mode, "", ModeWebhook, ModeAlwaysAllow))
	note("hairpin-mode", oneOf(v.String("hairpin-mode"), "hairpin-veth", "promiscuous-bridge", "none"))
	if rc := v.String("runtime-cgroups"); rc != "" && rc != v.String("agent-cgroups") {
		note("runtime-cgroups", errors.New("containerd runs inside the agent: it must be empty or the same as --agent-cgroups"))
	}
	if c.Node.MaxPods < 1 {
		note("max-pods", errors.New("want at least 1"))
	}
	if !c.Enabled() {
		return c, errors.Join(append(errs, needsServer(c)...)...)
	}
	if !built {
		errs = append(errs, errNone)
	}
	if c.Credentials.Kubeconfig == "" {
		c.Credentials.Kubeconfig = filepath.Join(c.Credentials.CertDir, "kubeconfig")
	}
	c.Access.Mode = orDefault(c.Access.Mode, ModeWebhook)
	if c.Node.UpdateEvery <= 0 || c.Node.ReportEvery <= 0 {
		note("node-status-update-frequency", errors.New("want more than 0, as of --node-status-report-frequency"))
	}
	return c, errors.Join(errs...)
}

// needsServer refuses what only an API server can do.
func needsServer(c Config) (errs []error) {
	for flag, set := range map[string]bool{
		"authentication-token-webhook": c.Access.TokenWebhook,
		"authorization-mode=Webhook":   c.Access.Mode == ModeWebhook,
		"rotate-server-certificates":   c.Credentials.RotateServer,
	} {
		if set {
			errs = append(errs, fmt.Errorf("reading --%s: it asks the API server, so --kubeconfig is needed", flag))
		}
	}
	return errs
}

func oneOf(value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%q is none of %q", value, allowed)
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// readLabels reads KEY=VALUE.
func readLabels(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, text := range list {
		key, value, ok := strings.Cut(strings.TrimSpace(text), "=")
		if !ok {
			return nil, fmt.Errorf("%q: want KEY=VALUE", text)
		}
		if why := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(why) > 0 {
			return nil, fmt.Errorf("%q: %s", text, strings.Join(why, "; "))
		}
		if !ownLabel(key) {
			return nil, fmt.Errorf("%q: a node may not give itself this label of kubernetes.io (prefixes kubelet.kubernetes.io and node.kubernetes.io are free)", key)
		}
		out[key] = value
	}
	return out, nil
}

// ownLabel says whether NodeRestriction lets a node set a label on itself.
func ownLabel(key string) bool {
	namespace, _, ok := strings.Cut(key, "/")
	if !ok || namespace != "kubernetes.io" && namespace != "k8s.io" &&
		!strings.HasSuffix(namespace, ".kubernetes.io") && !strings.HasSuffix(namespace, ".k8s.io") {
		return true
	}
	for _, free := range []string{"kubelet.kubernetes.io", "node.kubernetes.io"} {
		if namespace == free || strings.HasSuffix(namespace, "."+free) {
			return true
		}
	}
	return slices.Contains([]string{
		v1.LabelHostname, v1.LabelTopologyZone, v1.LabelTopologyRegion, v1.LabelFailureDomainBetaZone, v1.LabelFailureDomainBetaRegion,
		v1.LabelInstanceType, v1.LabelInstanceTypeStable, v1.LabelOSStable, v1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	}, key)
}

// readTaints reads KEY=VALUE:EFFECT and KEY:EFFECT.
func readTaints(list []string) (out []v1.Taint, err error) {
	for _, text := range list {
		rest, effect, ok := cutLast(strings.TrimSpace(text), ":")
		key, value, _ := strings.Cut(rest, "=")
		t := v1.Taint{Key: key, Value: value, Effect: v1.TaintEffect(effect)}
		switch {
		case !ok || oneOf(effect, string(v1.TaintEffectNoSchedule), string(v1.TaintEffectPreferNoSchedule), string(v1.TaintEffectNoExecute)) != nil:
			return nil, fmt.Errorf("%q: want KEY=VALUE:NoSchedule, :PreferNoSchedule or :NoExecute", text)
		case len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0:
			return nil, fmt.Errorf("%q: key or value is not that of a label", text)
		case slices.ContainsFunc(out, func(o v1.Taint) bool { return o.MatchTaint(&t) }):
			return nil, fmt.Errorf("%q: key and effect are there twice", text)
		}
		out = append(out, t)
	}
	return out, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// readIPs reads one address, or one of each family. "0.0.0.0" and "::" only say which family is preferred.
func readIPs(list []string) (out []net.IP, err error) {
	for _, text := range list {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		out = append(out, net.IP(a.Unmap().AsSlice()))
	}
	if len(out) > 2 || len(out) == 2 && (out[0].To4() == nil) == (out[1].To4() == nil) {
		return nil, errors.New("want one address, or one of each IP family")
	}
	return out, nil
}

// readReserved reads RESOURCE=QUANTITY.
func readReserved(list []string) (v1.ResourceList, error) {
	out := v1.ResourceList{}
	for _, text := range list {
		name, amount, _ := strings.Cut(strings.TrimSpace(text), "=")
		if err := oneOf(name, "cpu", "memory", "ephemeral-storage", "pid"); err != nil {
			return nil, err
		}
		q, err := resource.ParseQuantity(amount)
		if err != nil || q.Sign() < 0 {
			return nil, fmt.Errorf("%q: %q is no quantity", text, amount)
		}
		out[v1.ResourceName(name)] = q
	}
	return out, nil
}

// The signals of --eviction-hard.
const (
	signalMemory       = "memory.available"
	signalNodeFs       = "nodefs.available"
	signalNodeFsInodes = "nodefs.inodesFree"
	signalImageFs      = "imagefs.available"
	signalImageInodes  = "imagefs.inodesFree"
	signalPIDs         = "pid.available"
)

// readThresholds reads SIGNAL<QUANTITY and SIGNAL<PERCENT%; "=" stands for "<", as in the kubelet's configuration file.
// 0% and 100% turn a signal off.
func readThresholds(list []string) ([]Threshold, error) {
	bySignal := map[string]Threshold{}
	for _, text := range list {
		signal, amount, ok := strings.Cut(strings.TrimSpace(text), "<")
		if !ok {
			signal, amount, ok = strings.Cut(strings.TrimSpace(text), "=")
		}
		if !ok {
			return nil, fmt.Errorf("%q: want SIGNAL<QUANTITY", text)
		}
		if strings.HasPrefix(signal, "containerfs.") {
			continue // the kubelet derives it from the other two as well
		}
		if err := oneOf(signal, signalMemory, signalNodeFs, signalNodeFsInodes, signalImageFs, signalImageInodes, signalPIDs); err != nil {
			return nil, err
		}
		t := Threshold{Signal: signal}
		if percent, isPercent := strings.CutSuffix(amount, "%"); isPercent {
			if _, err := fmt.Sscanf(percent, "%g", &t.Percent); err != nil || t.Percent < 0 || t.Percent > 100 {
				return nil, fmt.Errorf("%q: want a percentage from 0%% to 100%%", text)
			}
			if t.Percent == 0 || t.Percent == 100 {
				delete(bySignal, signal)
				continue
			}
		} else {
			var err error
			if t.Quantity, err = resource.ParseQuantity(amount); err != nil || t.Quantity.Sign() < 0 {
				return nil, fmt.Errorf("%q: %q is no quantity", text, amount)
			}
		}
		bySignal[signal] = t
	}
	return slices.SortedFunc(maps.Values(bySignal), func(a, b Threshold) int { return strings.Compare(a.Signal, b.Signal) }), nil
}
