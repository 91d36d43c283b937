//go:build !nokube

package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/certificate"
)

// connection is how the API server is reached, with the credentials of the moment.
type connection struct {
	config   *rest.Config
	id       identity            // nil when client-go has the credentials
	manager  certificate.Manager // nil when nobody asks for new certificates
	closeAll func()
}

// Names of the files in the certificate directory, as the kubelet's.
const (
	clientPair = "kubelet-client"
	serverPair = "kubelet-server"
)

// rotationCheck is how often a new client certificate is looked for, to close connections with the old one.
const rotationCheck = 5 * time.Second

// connect reads the credentials. It sends nothing; with a bootstrap kubeconfig, run does the asking.
//
// Three cases: a kubeconfig that somebody else looks after, whose files may be replaced at any time; a certificate that
// the agent got itself and renews; and a first, or an expired, certificate that a bootstrap token has to get. The last two
// are one for the certificate manager: without a valid certificate it asks with the bootstrap credentials, however long the
// agent has been running. The kubelet exits instead, and hopes for another start (k8s#92676).
func connect(c Credentials, nodeName string) (*connection, error) {
	config, err := loadKubeconfig(c.Kubeconfig)
	if c.Bootstrap == "" {
		if err != nil {
			return nil, err
		}
		if own := ownedBy(config, c.CertDir); !own || !c.RotateClient {
			return connectFiles(c.Kubeconfig, config)
		}
		return connectManaged(c, nodeName, config, nil)
	}
	boot, bootErr := loadKubeconfig(c.Bootstrap)
	if bootErr != nil && err != nil {
		return nil, bootErr
	}
	if err != nil { // none yet, or one that a power cut left in pieces
		config = rest.AnonymousClientConfig(boot)
		pem := filepath.Join(c.CertDir, clientPair+"-current.pem")
		config.CertFile, config.KeyFile = pem, pem
		if err := writeKubeconfig(config, c.Kubeconfig); err != nil {
			return nil, err
		}
	}
	return connectManaged(c, nodeName, config, boot)
}

// loadKubeconfig reads the current context of a kubeconfig.
func loadKubeconfig(path string) (*rest.Config, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: path}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", path, err)
	}
	return config, nil
}

// ownedBy says whether a client certificate is one of those in the agent's directory.
func ownedBy(config *rest.Config, dir string) bool {
	return config.CertFile != "" && filepath.Dir(config.CertFile) == filepath.Clean(dir)
}

// connectFiles uses the credentials of a kubeconfig as they are on the disk at each new connection.
func connectFiles(path string, config *rest.Config) (*connection, error) {
	if config.CertFile == "" && len(config.CertData) == 0 {
		out, closeAll := plainTransport(config)
		return &connection{config: out, closeAll: closeAll}, nil
	}
	id := &fileIdentity{kubeconfig: path}
	if err := id.load(); err != nil {
		return nil, err
	}
	out, closeAll, err := rotatingTransport(config, id)
	if err != nil {
		return nil, err
	}
	return &connection{config: out, id: id, closeAll: closeAll}, nil
}

// connectManaged lets a certificate manager look after the certificate. Boot may be nil: then a certificate that has ended
// can only be replaced from outside.
func connectManaged(c Credentials, nodeName string, config, boot *rest.Config) (*connection, error) {
	if err := os.MkdirAll(c.CertDir, 0o700); err != nil {
		return nil, fmt.Errorf("creating --cert-dir: %w", err)
	}
	certFile, keyFile := "", ""
	var certPEM, keyPEM []byte
	if !ownedBy(config, c.CertDir) { // what a kubeconfig brought along is used until it has been replaced
		certFile, keyFile, certPEM, keyPEM = config.CertFile, config.KeyFile, config.CertData, config.KeyData
	}
	store, err := certificate.NewFileStore(clientPair, c.CertDir, c.CertDir, certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("opening the store of client certificates: %w", err)
	}
	var out *rest.Config
	var manager certificate.Manager
	manager, err = certificate.NewManager(&certificate.Config{
		ClientsetFn: func(current *tls.Certificate) (kubernetes.Interface, error) {
			switch {
			case boot != nil && current == nil:
				return kubernetes.NewForConfig(boot)
			case boot == nil || boot.Host != out.Host:
				return kubernetes.NewForConfig(out)
			}
			return renewalClient(out, boot, manager)
		},
		Template: &x509.CertificateRequest{Subject: pkix.Name{
			CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"},
		}},
		SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName, GetUsages: certificate.DefaultKubeletClientGetUsages,
		BootstrapCertificatePEM: certPEM, BootstrapKeyPEM: keyPEM,
		CertificateStore: store, Name: "client certificate",
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the rotation of the client certificate: %w", err)
	}
	var closeAll func()
	out, closeAll, err = rotatingTransport(config, manager)
	if err != nil {
		return nil, err
	}
	return &connection{config: out, id: manager, manager: manager, closeAll: closeAll}, nil
}

// renewalClient asks for certificates with the one that there is, and, once that has ended while an answer is being waited
// for, with the bootstrap credentials: the manager waits a quarter of an hour for one request.
func renewalClient(mine, boot *rest.Config, id identity) (kubernetes.Interface, error) {
	fallback, err := rest.TransportFor(boot)
	if err != nil {
		return nil, fmt.Errorf("preparing the bootstrap credentials: %w", err)
	}
	either := rest.CopyConfig(mine)
	either.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if id.Current() != nil {
			return mine.Transport.RoundTrip(r)
		}
		return fallback.RoundTrip(r)
	})
	return kubernetes.NewForConfig(either)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// run looks after the client certificate until ctx ends.
func (c *connection) run(ctx context.Context, log zerolog.Logger) {
	if c.manager != nil {
		c.manager.Start()
		defer c.manager.Stop()
	}
	if c.id == nil {
		<-ctx.Done()
		return
	}
	closeOnChange(ctx, c.id, rotationCheck, c.closeAll, log)
}

// writeKubeconfig writes the kubeconfig that goes with certificates of the agent's own.
func writeKubeconfig(config *rest.Config, path string) error {
	kubeconfig := api.Config{
		Clusters: map[string]*api.Cluster{"default-cluster": {
			Server: config.Host, InsecureSkipTLSVerify: config.Insecure, CertificateAuthority: config.CAFile,
			CertificateAuthorityData: config.CAData, TLSServerName: config.ServerName,
		}},
		AuthInfos:      map[string]*api.AuthInfo{"default-auth": {ClientCertificate: config.CertFile, ClientKey: config.KeyFile}},
		Contexts:       map[string]*api.Context{"default-context": {Cluster: "default-cluster", AuthInfo: "default-auth", Namespace: "default"}},
		CurrentContext: "default-context",
	}
	if config.CAFile != "" {
		kubeconfig.Clusters["default-cluster"].CertificateAuthorityData = nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("creating the directory of --kubeconfig: %w", err)
	}
	if err := clientcmd.WriteToFile(kubeconfig, path); err != nil {
		return fmt.Errorf("writing --kubeconfig: %w", err)
	}
	return nil
}
