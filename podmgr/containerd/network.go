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
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// network attaches pods through CNI. Without a configuration in --cni-conf-dir the agent brings its own: bridge,
// host-local and portmap, with the address book below --state, so that a reboot cannot leak an address.
type network struct {
	own     bool
	bridge  string
	cidr    string
	binDirs []string
	log     zerolog.Logger

	// plain lacks the portmap plugin, which most pods do not need and every plugin is a process.
	plain cni.CNI
	ports cni.CNI
}

const networkName = "network.json"

// networkFile is <state>/pods/<uid>/network.json: what CNI is asked for and what it gave.
type networkFile struct {
	Key   manifests.Key     `json:"key"`
	UID   types.UID         `json:"uid"`
	Ports []cni.PortMapping `json:"ports,omitempty"`
	IPs   []string          `json:"ips,omitempty"`
	Done  bool              `json:"done"` // ADD has succeeded
}

func (f networkFile) write(path string) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encoding the pod's network: %w", err)
	}
	return writeFile(path, b, 0o600)
}

func newNetwork(c Config, log zerolog.Logger) (*network, error) {
	n := &network{bridge: c.Bridge, cidr: c.PodCIDR, binDirs: c.CNIBinDirs, log: log}
	found, err := confFiles(c.CNIConfDir)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		n.plain, err = cni.New(cni.WithPluginDir(c.CNIBinDirs), cni.WithPluginConfDir(c.CNIConfDir), cni.WithInterfacePrefix("eth"), cni.WithMinNetworkCount(1))
		if err != nil {
			return nil, fmt.Errorf("setting up CNI: %w", err)
		}
		if err := n.plain.Load(cni.WithDefaultConf); err != nil {
			return nil, fmt.Errorf("reading the CNI configuration in %s: %w", c.CNIConfDir, err)
		}
		n.ports = n.plain
		return n, nil
	}
	n.own = true
	if _, err := netip.ParsePrefix(c.PodCIDR); err != nil {
		return nil, fmt.Errorf("reading --pod-cidr %q: %w (want something like 10.87.0.0/16)", c.PodCIDR, err)
	}
	for _, with := range []bool{false, true} {
		x, err := cni.New(cni.WithPluginDir(c.CNIBinDirs), cni.WithInterfacePrefix("eth"), cni.WithMinNetworkCount(1))
		if err != nil {
			return nil, fmt.Errorf("setting up CNI: %w", err)
		}
		if err := x.Load(cni.WithConfListBytes(ownConf(c, with))); err != nil {
			return nil, fmt.Errorf("loading the agent's own CNI configuration: %w", err)
		}
		if with {
			n.ports = x
		} else {
			n.plain = x
		}
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

// ownConf is the configuration for boxes that have none. Masquerading is one rule for the whole node instead of a chain
// per pod (masquerade), which halves the time an attach takes.
func ownConf(c Config, portmap bool) []byte {
	plugins := []any{map[string]any{
		"type": "bridge", "bridge": c.Bridge, "isGateway": true, "ipMasq": false, "hairpinMode": c.Hairpin == "" || c.Hairpin == "hairpin-veth",
		"promiscMode": c.Hairpin == "promiscuous-bridge",
		"ipam": map[string]any{
			"type": "host-local", "dataDir": filepath.Join(c.State, "cni", "ipam"),
			"ranges": []any{[]any{map[string]any{"subnet": c.PodCIDR}}},
			"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
		},
	}}
	if portmap {
		plugins = append(plugins, map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}, "snat": true})
	}
	b, err := json.Marshal(map[string]any{"cniVersion": "0.4.0", "name": c.Bridge, "plugins": plugins})
	if err != nil {
		panic(err) // plain maps and strings always encode
	}
	return b
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
	f := networkFile{Key: p.Key(), UID: p.UID(), Ports: portMappings(p.Object)}
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
	if len(f.Ports) == 0 {
		return n.plain, opts
	}
	return n.ports, append(opts, cni.WithCapabilityPortMap(f.Ports))
}

func portMappings(p *v1.Pod) []cni.PortMapping {
	var out []cni.PortMapping
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.HostPort == 0 {
				continue
			}
			proto := "tcp"
			switch port.Protocol {
			case v1.ProtocolUDP:
				proto = "udp"
			case v1.ProtocolSCTP:
				proto = "sctp"
			}
			out = append(out, cni.PortMapping{HostPort: port.HostPort, ContainerPort: port.ContainerPort, Protocol: proto, HostIP: port.HostIP})
		}
	}
	return out
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
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		n.log.Warn().Err(err).Msg("pods cannot reach other hosts: turning on IP forwarding")
	}
	for _, rule := range [][]string{
		{"-t", "nat", "POSTROUTING", "-s", n.cidr, "!", "-d", n.cidr, "-m", "comment", "--comment", n.bridge, "-j", "MASQUERADE"},
		{"-t", "filter", "FORWARD", "-s", n.cidr, "-m", "comment", "--comment", n.bridge, "-j", "ACCEPT"},
		{"-t", "filter", "FORWARD", "-d", n.cidr, "-m", "comment", "--comment", n.bridge, "-j", "ACCEPT"},
	} {
		if iptables(ctx, rule[:2], "-C", rule[2:]) == nil {
			continue
		}
		if err := iptables(ctx, rule[:2], "-A", rule[2:]); err != nil {
			n.log.Warn().Err(err).Msg("pods cannot reach other hosts: adding an iptables rule")
			return
		}
	}
}

func iptables(ctx context.Context, table []string, verb string, rule []string) error {
	args := append(append(append([]string{"-w", "10"}, table...), verb), rule...)
	out, err := exec.CommandContext(ctx, "iptables", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running iptables: %w: %s", err, out)
	}
	return nil
}
