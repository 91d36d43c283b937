package containerd

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"strings"

	"edgepod.dev/agent/manifests"
	cni "github.com/containerd/go-cni"
	v1 "k8s.io/api/core/v1"
)

// chain says which plugins an attachment needs beside the bridge; every plugin is a process, so none is run for nothing.
type chain struct{ ports, bandwidth bool }

// parseCIDRs reads --pod-cidr: one range, or one of each family with a comma between.
func parseCIDRs(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("reading --pod-cidr %q: %w (want something like 10.87.0.0/16, or that and fd00:87::/64 after a comma)", text, err)
		}
		out = append(out, p.Masked())
	}
	if len(out) > 2 || len(out) == 2 && out[0].Addr().Is4() == out[1].Addr().Is4() {
		return nil, fmt.Errorf("reading --pod-cidr %q: want one range, or one of IPv4 and one of IPv6", text)
	}
	return out, nil
}

// ownConf is the configuration for boxes that have none. Masquerading is one rule for the whole node instead of a chain
// per pod (masquerade), which halves the time an attach takes.
func ownConf(c Config, cidrs []netip.Prefix, with chain) []byte {
	var ranges, routes []any
	for _, p := range cidrs {
		ranges = append(ranges, []any{map[string]any{"subnet": p.String()}})
		dst := "0.0.0.0/0"
		if p.Addr().Is6() {
			dst = "::/0"
		}
		routes = append(routes, map[string]any{"dst": dst})
	}
	plugins := []any{map[string]any{
		"type": "bridge", "bridge": c.Bridge, "isGateway": true, "ipMasq": false, "hairpinMode": c.Hairpin == "" || c.Hairpin == "hairpin-veth",
		"promiscMode": c.Hairpin == "promiscuous-bridge",
		"ipam": map[string]any{
			"type": "host-local", "dataDir": filepath.Join(c.State, "cni", "ipam"), "ranges": ranges, "routes": routes,
		},
	}}
	if with.ports {
		plugins = append(plugins, map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}, "snat": true})
	}
	if with.bandwidth {
		plugins = append(plugins, map[string]any{"type": "bandwidth", "capabilities": map[string]any{"bandwidth": true}})
	}
	b, err := json.Marshal(map[string]any{"cniVersion": "0.4.0", "name": c.Bridge, "plugins": plugins})
	if err != nil {
		panic(err) // plain maps and strings always encode
	}
	return b
}

// bandwidthOf is what the pod's annotations ask for, for the bandwidth plugin; nil when they ask for nothing.
func bandwidthOf(p *v1.Pod) (*cni.BandWidth, error) {
	in, out, err := manifests.Bandwidth(p.Annotations)
	if err != nil || in == 0 && out == 0 {
		return nil, err
	}
	b := &cni.BandWidth{IngressRate: in, EgressRate: out}
	if in > 0 { // as containerd's CRI does: the plugin wants a burst, the annotations have none
		b.IngressBurst = math.MaxUint32
	}
	if out > 0 {
		b.EgressBurst = math.MaxUint32
	}
	return b, nil
}
