//go:build !nokube

package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/certificate"
)

// servingCertificate asks the API server for the certificate of the agent's own server, and renews it. Somebody has to
// approve such requests: the controller manager does not.
type servingCertificate struct{ manager certificate.Manager }

func newServingCertificate(dir string, n *Node) (*servingCertificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating --cert-dir: %w", err)
	}
	store, err := certificate.NewFileStore(serverPair, dir, dir, "", "")
	if err != nil {
		return nil, fmt.Errorf("opening the store of serving certificates: %w", err)
	}
	m, err := certificate.NewManager(&certificate.Config{
		ClientsetFn: func(*tls.Certificate) (kubernetes.Interface, error) { return n.clients.kube, nil },
		GetTemplate: func() *x509.CertificateRequest {
			seen := n.seen.Load()
			if seen == nil {
				return nil // addresses are those of the Node, which the approver compares
			}
			return servingRequest(n.host.Name, seen.Status.Addresses)
		},
		SignerName: certificatesv1.KubeletServingSignerName, GetUsages: certificate.DefaultKubeletServingGetUsages,
		CertificateStore: store, Name: "serving certificate",
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the rotation of the serving certificate: %w", err)
	}
	return &servingCertificate{m}, nil
}

// servingRequest names what the node is called by; nil when it is called by nothing yet.
func servingRequest(node string, addresses []v1.NodeAddress) *x509.CertificateRequest {
	t := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}}
	seen := map[string]bool{}
	for _, a := range addresses {
		if a.Address == "" || seen[a.Address] {
			continue
		}
		seen[a.Address] = true
		if ip := net.ParseIP(a.Address); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if a.Type != v1.NodeInternalIP && a.Type != v1.NodeExternalIP {
			t.DNSNames = append(t.DNSNames, a.Address)
		}
	}
	if len(t.IPAddresses) == 0 && len(t.DNSNames) == 0 {
		return nil
	}
	return t
}

func (s *servingCertificate) run(ctx context.Context) {
	s.manager.Start()
	<-ctx.Done()
	s.manager.Stop()
}

// ServingCertificate is the certificate that the API server signed for the agent's own server; nil while there is none.
func (n *Node) ServingCertificate() *tls.Certificate {
	if n.serving == nil {
		return nil
	}
	return n.serving.manager.Current()
}
