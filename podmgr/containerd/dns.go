package containerd

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"edgepod.dev/agent/podmgr"
	v1 "k8s.io/api/core/v1"
)

// Limits of a resolv.conf, as the kubelet holds them (pkg/kubelet/network/dns).
const (
	maxNameservers   = 3
	maxSearchDomains = 32
	maxSearchChars   = 2048
	maxDomainChars   = 253 // some resolvers abort at more
)

// reasonDNS is the kubelet's reason of a warning about a resolv.conf that was cut.
const reasonDNS = "DNSConfigForming"

// clusterDNS is what pods with dnsPolicy ClusterFirst ask; without servers there is none, and ClusterFirst quietly means
// Default.
type clusterDNS struct {
	servers []string
	domain  string // such as cluster.local; may be empty
}

// resolver is the content of a resolv.conf.
type resolver struct{ servers, search, options []string }

// resolvConf is the pod's resolv.conf, with a warning for each limit that cuts it. node is the node's own.
func resolvConf(p *v1.Pod, cluster clusterDNS, node string) (text string, found []podmgr.Note) {
	r := parseResolvConf(node)
	switch policy := p.Spec.DNSPolicy; {
	case policy == v1.DNSNone:
		r = resolver{}
	case policy == v1.DNSDefault, policy == v1.DNSClusterFirst && p.Spec.HostNetwork, len(cluster.servers) == 0:
	default:
		r.servers = cluster.servers
		r.options = []string{"ndots:5"}
		if d := cluster.domain; d != "" {
			r.search = appendNew([]string{p.Namespace + ".svc." + d, "svc." + d, d}, r.search...)
		}
	}
	if c := p.Spec.DNSConfig; c != nil {
		r.servers = appendNew(r.servers, c.Nameservers...)
		r.search = appendNew(r.search, c.Searches...)
		for _, o := range c.Options {
			text := o.Name
			if o.Value != nil {
				text += ":" + *o.Value
			}
			r.options = replaceOption(r.options, o.Name, text)
		}
	}
	found = r.cut()
	return r.String(), found
}

// cut holds the limits, and tells of each that it had to hold in the kubelet's words.
func (r *resolver) cut() (found []podmgr.Note) {
	if len(r.servers) > maxNameservers {
		r.servers = r.servers[:maxNameservers]
		found = append(found, podmgr.Note{Reason: reasonDNS, Message: "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: " +
			strings.Join(r.servers, " ")})
	}
	whole := len(r.search)
	search := slices.Clone(r.search[:min(whole, maxSearchDomains)])
	search = slices.DeleteFunc(search, func(d string) bool { return len(d) > maxDomainChars })
	for len(strings.Join(search, " ")) > maxSearchChars {
		search = search[:len(search)-1]
	}
	if r.search = search; len(search) < whole {
		found = append(found, podmgr.Note{Reason: reasonDNS, Message: "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " +
			strings.Join(search, " ")})
	}
	return found
}

func (r *resolver) String() string {
	var b strings.Builder
	for _, s := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.String()
}

func parseResolvConf(text string) (r resolver) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			if net.ParseIP(strings.SplitN(f[1], "%", 2)[0]) != nil {
				r.servers = appendNew(r.servers, f[1])
			}
		case "search", "domain":
			r.search = nil
			for _, d := range f[1:] {
				if d = strings.TrimSuffix(d, "."); d != "" {
					r.search = appendNew(r.search, d)
				}
			}
		case "options":
			r.options = appendNew(r.options, f[1:]...)
		}
	}
	return r
}

// uplinkConf is where systemd-resolved writes the servers that it asks itself.
const uplinkConf = "/run/systemd/resolve/resolv.conf"

// nodeResolvConf reads the node's resolv.conf. A pod cannot reach the stub that systemd-resolved has on the node's
// loopback: it gets the servers behind it.
func nodeResolvConf(file, uplink string, hostNetwork bool) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("reading the node's resolv.conf: %w", err)
	}
	servers := parseResolvConf(string(b)).servers
	remote := slices.ContainsFunc(servers, func(s string) bool { ip := net.ParseIP(s); return ip == nil || !ip.IsLoopback() })
	if hostNetwork || remote || len(servers) == 0 {
		return string(b), nil
	}
	if up, err := os.ReadFile(uplink); err == nil && len(parseResolvConf(string(up)).servers) > 0 {
		return string(up), nil
	}
	return string(b), nil
}

func appendNew(list []string, add ...string) []string {
	list = slices.Clip(list)
	for _, a := range add {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// replaceOption sets an option such as ndots:5, replacing one of the same name.
func replaceOption(options []string, name, text string) []string {
	options = slices.Clone(options)
	for i, o := range options {
		if o == name || strings.HasPrefix(o, name+":") {
			options[i] = text
			return options
		}
	}
	return append(options, text)
}
