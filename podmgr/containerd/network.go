package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"edgepod.dev/agent/manifests"
	cni "github.com/containerd/go-cni"
	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/types"
)

// network attaches pods through CNI. Without a configuration in --cni-conf-dir the agent brings its own: bridge,
// host-local and portmap, with the address book below --state, so that a reboot cannot leak an address.
type network struct {
	own     bool
	bridge  string
	cidrs   []netip.Prefix
	log     zerolog.Logger
	plugins map[chain]cni.CNI
}

const networkName = "network.json"

// networkFile is <state>/pods/<uid>/network.json: what CNI is asked for and what it gave.
type networkFile struct {
	Key   manifests.Key     `json:"key"`
	UID   types.UID         `json:"uid"`
	Ports []cni.PortMapping `json:"ports,omitempty"`
	// Bandwidth is what the pod's annotations ask for.
	Bandwidth *cni.BandWidth `json:"bandwidth,omitempty"`
	IPs       []string       `json:"ips,omitempty"`
	Done      bool           `json:"done"` // ADD has succeeded
}

func (f networkFile) write(path string) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encoding the pod's network: %w", err)
	}
	return writeFile(path, b, 0o600)
}

func newNetwork(c Config, log zerolog.Logger) (*network, error) {
	n := &network{bridge: c.Bridge, log: log, plugins: map[chain]cni.CNI{}}
	found, err := confFiles(c.CNIConfDir)
	if err != nil {
		return nil, err
	}
	all := []chain{{}, {ports: true}, {bandwidth: true}, {true, true}}
	if len(found) > 0 {
		x, err := cni.New(cni.WithPluginDir(c.CNIBinDirs), cni.WithPluginConfDir(c.CNIConfDir), cni.WithInterfacePrefix("eth"), cni.WithMinNetworkCount(1))
		if err != nil {
			return nil, fmt.Errorf("setting up CNI: %w", err)
		}
		if err := x.Load(cni.WithDefaultConf); err != nil {
			return nil, fmt.Errorf("reading the CNI configuration in %s: %w", c.CNIConfDir, err)
		}
		for _, with := range all {
			n.plugins[with] = x
		}
		return n, nil
	}
	n.own = true
	if n.cidrs, err = parseCIDRs(c.PodCIDR); err != nil {
		return nil, err
	}
	for _, with := range all {
		x, err := cni.New(cni.WithPluginDir(c.CNIBinDirs), cni.WithInterfacePrefix("eth"), cni.WithMinNetworkCount(1))
		if err != nil {
			return nil, fmt.Errorf("setting up CNI: %w", err)
		}
		if err := x.Load(cni.WithConfListBytes(ownConf(c, n.cidrs, with))); err != nil {
			return nil, fmt.Errorf("loading the agent's own CNI configuration: %w", err)
		}
		n.plugins[with] = x
	}
	return n, nil
}

// confFiles lists the CNI configurations of a directory that may not exist.
func confFiles(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the CNI configuration directory: %w", err)
	}
	var out []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conf", ".conflist", ".json":
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// attach gives the pod's network namespace its interface and addresses. What it is about to do, and then what it got, is
// kept in file, so that it can be undone without the manifest.
func (n *network) attach(ctx context.Context, p *manifests.Pod, id, netns, file string) (networkFile, error) {
	old, err := readNetworkFile(file)
	switch {
	case err == nil && old.Done:
		return old, nil
	case err == nil:
		// An attach that a crash cut off may have left an address and a veth: a DEL makes the ADD repeatable.
		if err := n.detach(ctx, id, netns, file); err != nil {
			return networkFile{}, err
		}
	}
	bandwidth, err := bandwidthOf(p.Object)
	if err != nil {
		return networkFile{}, err
	}
	f := networkFile{Key: p.Key(), UID: p.UID(), Ports: portMappings(p.Object), Bandwidth: bandwidth}
	if err := f.write(file); err != nil {
		return networkFile{}, err
	}
	plugin, opts := n.forPod(f)
	res, err := plugin.SetupSerially(ctx, id, netns, opts...)
	if err != nil {
		return networkFile{}, fmt.Errorf("setting up the pod's network: %w", err)
	}
	if i, ok := res.Interfaces["eth0"]; ok {
		for _, ip := range i.IPConfigs {
			f.IPs = append(f.IPs, ip.IP.String())
		}
	}
	f.Done = true
	return f, f.write(file)
}

// detach undoes attach. The namespace may be gone already (a reboot) and so may the file: CNI then frees what it keeps.
func (n *network) detach(ctx context.Context, id, netns, file string) error {
	f, err := readNetworkFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.log.Warn().Err(err).Msg("detaching a pod whose network file is damaged")
	}
	if !isNamespace(netns) {
		netns = ""
	}
	plugin, opts := n.forPod(f)
	if err := plugin.Remove(ctx, id, netns, opts...); err != nil {
		return fmt.Errorf("removing the pod's network: %w", err)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the pod's network file: %w", err)
	}
	return nil
}

func (n *network) forPod(f networkFile) (cni.CNI, []cni.NamespaceOpts) {
	opts := []cni.NamespaceOpts{cni.WithLabels(map[string]string{
		"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": f.Key.Namespace, "K8S_POD_NAME": f.Key.Name, "K8S_POD_UID": string(f.UID),
	})}
	if len(f.Ports) > 0 {
		opts = append(opts, cni.WithCapabilityPortMap(f.Ports))
	}
	if f.Bandwidth != nil {
		opts = append(opts, cni.WithCapabilityBandWidth(*f.Bandwidth))
	}
	return n.plugins[chain{len(f.Ports) > 0, f.Bandwidth != nil}], opts
}

func readNetworkFile(path string) (networkFile, error) {
	var f networkFile
	b, err := os.ReadFile(path)
	if err != nil {
		return f, fmt.Errorf("reading the pod's network: %w", err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("reading the pod's network: %w", err)
	}
	return f, nil
}

// masquerade hides pod addresses behind the node's for traffic that leaves the pod network, and lets it be
// forwarded. A box without iptables keeps pod-to-pod and host-to-pod traffic.
func (n *network) masquerade(ctx context.Context) {
	for _, cidr := range n.cidrs {
		command, forward := "iptables", "/proc/sys/net/ipv4/ip_forward"
		if cidr.Addr().Is6() {
			command, forward = "ip6tables", "/proc/sys/net/ipv6/conf/all/forwarding"
		}
		if err := os.WriteFile(forward, []byte("1"), 0); err != nil {
			n.log.Warn().Err(err).Msg("pods cannot reach other hosts: turning on IP forwarding")
		}
		if err := n.masqueradeRange(ctx, command, cidr.String()); err != nil {
			n.log.Warn().Err(err).Msg("pods cannot reach other hosts: adding an iptables rule")
		}
	}
}

func (n *network) masqueradeRange(ctx context.Context, command, cidr string) error {
	for _, rule := range [][]string{
		{"-t", "nat", "POSTROUTING", "-s", cidr, "!", "-d", cidr, "-m", "comment", "--comment", n.bridge, "-j", "MASQUERADE"},
		{"-t", "filter", "FORWARD", "-s", cidr, "-m", "comment", "--comment", n.bridge, "-j", "ACCEPT"},
		{"-t", "filter", "FORWARD", "-d", cidr, "-m", "comment", "--comment", n.bridge, "-j", "ACCEPT"},
	} {
		if iptables(ctx, command, rule[:2], "-C", rule[2:]) == nil {
			continue
		}
		if err := iptables(ctx, command, rule[:2], "-A", rule[2:]); err != nil {
			return err
		}
	}
	return nil
}

func iptables(ctx context.Context, command string, table []string, verb string, rule []string) error {
	args := append(append(append([]string{"-w", "10"}, table...), verb), rule...)
	out, err := exec.CommandContext(ctx, command, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s: %w: %s", command, err, out)
	}
	return nil
}
