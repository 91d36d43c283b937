package containerd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// Limits of a resolv.conf, as the kubelet holds them.
const (
	maxNameservers   = 3
	maxSearchDomains = 32
	maxSearchChars   = 2048
)

// hostname is the pod's host name and, with a subdomain, what stands in front of its IP in /etc/hosts.
func hostname(p *v1.Pod) string {
	h := p.Spec.Hostname
	if h == "" {
		h = p.Name
	}
	const most = 63 // of a DNS label and, less one, of the kernel
	if len(h) > most {
		h = strings.TrimRight(h[:most], "-.")
	}
	return h
}

// writePodFiles writes /etc/hosts, /etc/hostname and /etc/resolv.conf of the pod into its state directory.
func writePodFiles(p *manifests.Pod, dir string, ips []string, node string) error {
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("reading the node's resolv.conf: %w", err)
	}
	nodeHosts, err := os.ReadFile("/etc/hosts")
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("reading the node's hosts file: %w", err)
	}
	name := hostname(p.Object)
	if p.Object.Spec.HostNetwork {
		name = node
	}
	for file, content := range map[string]string{
		"hosts":       hostsFile(p.Object, ips, string(nodeHosts)),
		"hostname":    name + "\n",
		"resolv.conf": resolvConf(p.Object, string(resolv)),
	} {
		path := filepath.Join(dir, file)
		if old, err := os.ReadFile(path); err == nil && string(old) == content {
			continue
		}
		// In place: containers have the file itself mounted.
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("writing the pod's %s: %w", file, err)
		}
	}
	return nil
}

// hostsFile is the kubelet's: a managed file for pods with an address, the node's own with hostNetwork, hostAliases
// after both.
func hostsFile(p *v1.Pod, ips []string, node string) string {
	var b strings.Builder
	if p.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.WriteString(node)
	} else {
		b.WriteString(`# Kubernetes-managed hosts file.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::0	ip6-localnet
fe00::0	ip6-mcastprefix
fe00::1	ip6-allnodes
fe00::2	ip6-allrouters
`)
		for _, ip := range ips {
			fmt.Fprintf(&b, "%s\t%s\n", ip, hostname(p))
		}
	}
	if len(p.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range p.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.String()
}

// resolvConf is the pod's resolv.conf. A box without cluster DNS has no ClusterFirst: it means Default.
func resolvConf(p *v1.Pod, node string) string {
	var servers, search, options []string
	if p.Spec.DNSPolicy != v1.DNSNone {
		servers, search, options = parseResolvConf(node)
	}
	if c := p.Spec.DNSConfig; c != nil {
		servers = appendNew(servers, c.Nameservers...)
		search = appendNew(search, c.Searches...)
		for _, o := range c.Options {
			text := o.Name
			if o.Value != nil {
				text += ":" + *o.Value
			}
			options = replaceOption(options, o.Name, text)
		}
	}
	var b strings.Builder
	for _, s := range servers[:min(len(servers), maxNameservers)] {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	search = search[:min(len(search), maxSearchDomains)]
	for len(search) > 0 && len(strings.Join(search, " ")) > maxSearchChars {
		search = search[:len(search)-1]
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

func parseResolvConf(text string) (servers, search, options []string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			if net.ParseIP(strings.SplitN(f[1], "%", 2)[0]) != nil {
				servers = appendNew(servers, f[1])
			}
		case "search", "domain":
			search = append([]string(nil), f[1:]...)
		case "options":
			options = appendNew(options, f[1:]...)
		}
	}
	return servers, search, options
}

func appendNew(list []string, add ...string) []string {
	for _, a := range add {
		found := false
		for _, l := range list {
			found = found || l == a
		}
		if !found {
			list = append(list, a)
		}
	}
	return list
}

// replaceOption sets an option such as ndots:5, replacing one of the same name.
func replaceOption(options []string, name, text string) []string {
	for i, o := range options {
		if o == name || strings.HasPrefix(o, name+":") {
			options[i] = text
			return options
		}
	}
	return append(options, text)
}
