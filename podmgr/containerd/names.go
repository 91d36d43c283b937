package containerd

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Longest names: of a DNS label, and of what the kernel takes as a host name.
const (
	maxLabel  = 63
	maxKernel = 64
)

// podNames are the names of a pod (kubelet: GeneratePodHostNameAndDomain).
type podNames struct {
	host   string // spec.hostname or the pod's name; with hostNetwork the node's
	domain string // with spec.subdomain: <subdomain>.<namespace>.svc.<cluster domain>
	kernel string // what hostname(1) says in the pod
}

// namesOf is an error where setHostnameAsFQDN asks for a name that the kernel cannot have.
func namesOf(p *v1.Pod, clusterDomain, node string) (podNames, error) {
	if p.Spec.HostNetwork {
		return podNames{host: node, kernel: node}, nil
	}
	n := podNames{host: p.Name}
	if p.Spec.Hostname != "" {
		n.host = p.Spec.Hostname
	}
	if o := p.Spec.HostnameOverride; o != nil {
		n.host = *o
	}
	if len(n.host) > maxLabel {
		n.host = strings.TrimRight(n.host[:maxLabel], "-.")
	}
	n.kernel = n.host
	if p.Spec.Subdomain == "" || p.Spec.HostnameOverride != nil {
		return n, nil
	}
	n.domain = strings.TrimSuffix(p.Spec.Subdomain+"."+p.Namespace+".svc."+clusterDomain, ".")
	if as := p.Spec.SetHostnameAsFQDN; as != nil && *as {
		n.kernel = n.host + "." + n.domain
		if len(n.kernel) > maxKernel {
			return n, fmt.Errorf("naming the pod: FQDN %s is too long (%d is the max, %d characters requested)",
				n.kernel, maxKernel, len(n.kernel))
		}
	}
	return n, nil
}

// hostsLine is the pod's line in its /etc/hosts.
func (n podNames) hostsLine(ip string) string {
	if n.domain != "" {
		return fmt.Sprintf("%s\t%s.%s\t%s\n", ip, n.host, n.domain, n.host)
	}
	return fmt.Sprintf("%s\t%s\n", ip, n.host)
}
