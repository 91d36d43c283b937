package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// names are the pod's names on this node.
func (r *Runtime) names(p *v1.Pod) (podNames, error) {
	return namesOf(p, r.cfg.ClusterDomain, r.cfg.NodeName)
}

// writePodFiles writes /etc/hosts, /etc/hostname and /etc/resolv.conf of the pod into its state directory.
func (r *Runtime) writePodFiles(p *manifests.Pod, dir string, ips []string) error {
	names, err := r.names(p.Object)
	if err != nil {
		return err
	}
	file := r.cfg.ResolvConf
	if file == "" {
		file = "/etc/resolv.conf"
	}
	node, err := nodeResolvConf(file, uplinkConf, p.Object.Spec.HostNetwork)
	if err != nil {
		return err
	}
	nodeHosts, err := os.ReadFile("/etc/hosts")
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("reading the node's hosts file: %w", err)
	}
	resolv, found := resolvConf(p.Object, clusterDNS{r.cfg.ClusterDNS, r.cfg.ClusterDomain}, node)
	r.notes.set(p.UID(), "", []string{reasonDNS}, found...)
	for file, content := range map[string]string{
		"hosts":       hostsFile(p.Object, names, ips, string(nodeHosts)),
		"hostname":    names.kernel + "\n",
		"resolv.conf": resolv,
	} {
		path := filepath.Join(dir, file)
		if old, err := os.ReadFile(path); err == nil && string(old) == content {
			continue
		}
		// In place: containers have the file itself mounted.
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("writing the pod's %s: %w", file, err)
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask says
			return fmt.Errorf("opening the pod's %s: %w", file, err)
		}
	}
	return nil
}

// hostsFile is the kubelet's: a managed file for pods with an address, the node's own with hostNetwork, hostAliases
// after both.
func hostsFile(p *v1.Pod, names podNames, ips []string, node string) string {
	var b strings.Builder
	if p.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.WriteString(node)
		if node != "" && !strings.HasSuffix(node, "\n") {
			b.WriteByte('\n')
		}
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
			b.WriteString(names.hostsLine(ip))
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
