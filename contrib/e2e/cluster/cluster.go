package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"edgepod.dev/agent/contrib/e2e/node"
)

// Cluster is a control plane without nodes.
type Cluster struct {
	Client
	// Dir holds everything of the cluster, Bin its programs.
	Dir, Bin string
	// NodeIP is the address for nodes: the API server reaches their HTTP API there.
	NodeIP string
	// Server is the API server's address, https://….
	Server string

	t       node.T
	ca      *authority
	etcd    string // client URL
	ports   struct{ etcd, peer, api, controllers, scheduler, metrics int }
	running map[string]*process
}

// process is one part that runs.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// New starts a control plane that goes with the test. bin is what Build returned.
func New(t node.T, bin string) *Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-cluster-")
	if err != nil {
		t.Fatalf("creating the cluster's directory: %v", err)
	}
	c := &Cluster{Dir: dir, Bin: bin, t: t, running: map[string]*process{}}
	t.Cleanup(c.clear)
	h := fnv.New32a()
	_, _ = h.Write([]byte(dir))
	c.NodeIP = fmt.Sprintf("10.189.%d.%d", h.Sum32()%256, 1+h.Sum32()/256%250)
	for _, p := range []*int{&c.ports.etcd, &c.ports.peer, &c.ports.api, &c.ports.controllers, &c.ports.scheduler, &c.ports.metrics} {
		*p = node.FreePort(t)
	}
	c.Server = fmt.Sprintf("https://127.0.0.1:%d", c.ports.api)
	c.etcd = fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcd)
	if err := c.address(netlink.AddrAdd); err != nil {
		t.Fatalf("giving the nodes an address: %v", err)
	}
	if err := c.identities(); err != nil {
		t.Fatalf("making the cluster's certificates: %v", err)
	}
	c.start("etcd", "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", c.etcd, "--advertise-client-urls", c.etcd,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", c.ports.peer))
	c.StartAPIServer()
	c.start("kube-controller-manager", "--kubeconfig", c.kubeconfigFile("controllers"), "--use-service-account-credentials",
		"--service-account-private-key-file", c.ca.file("accounts.key"), "--root-ca-file", c.ca.file("ca.crt"),
		"--cluster-signing-cert-file", c.ca.file("ca.crt"), "--cluster-signing-key-file", c.ca.file("ca.key"),
		"--leader-elect=false", "--controllers=*,-node-ipam-controller", "--concurrent-gc-syncs=2",
		"--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", c.ports.controllers))
	c.start("kube-scheduler", "--kubeconfig", c.kubeconfigFile("scheduler"), "--leader-elect=false",
		"--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", c.ports.scheduler))
	// Pods are refused until their namespace has this.
	c.Within(time.Minute, "the default service account", func() error {
		return c.Do(http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", nil, nil)
	})
	return c
}

// For is the cluster as a subtest sees it: what it asks of the cluster fails the subtest.
func (c *Cluster) For(t node.T) *Cluster {
	d := *c
	d.t = t
	return &d
}

// identities makes the certificate authority, the certificates and the kubeconfigs of the parts, and our own client.
func (c *Cluster) identities() error {
	dir := filepath.Join(c.Dir, "pki")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var err error
	if c.ca, err = newAuthority(dir); err != nil {
		return err
	}
	local := []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, id := range []Identity{
		{File: "apiserver", Name: "kube-apiserver", IPs: local, DNS: []string{"localhost", "kubernetes.default.svc"}, Server: true},
		{File: "metrics", Name: "metrics-server", IPs: local, Server: true},
		{File: "admin", Name: "admin", Groups: []string{"system:masters"}},
		{File: "kubelet-client", Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
		{File: "front-proxy", Name: "front-proxy-client"},
		{File: "accounts", Name: "service accounts"},
		{File: "controllers", Name: "system:kube-controller-manager"},
		{File: "scheduler", Name: "system:kube-scheduler"},
		{File: "metrics-client", Name: "metrics-server", Groups: []string{"system:masters"}},
	} {
		if _, _, err := c.ca.Issue(id); err != nil {
			return fmt.Errorf("issuing a certificate for %s: %w", id.Name, err)
		}
		if err := c.kubeconfig(c.kubeconfigFile(id.File), id.File); err != nil {
			return err
		}
	}
	if err := c.publicKey("accounts"); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.ca.file("admin.crt"), c.ca.file("admin.key"))
	if err != nil {
		return err
	}
	c.Client = Client{server: c.Server, http: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: c.roots(), MinVersion: tls.VersionTLS12}},
	}}
	return nil
}

// publicKey writes the public half of a key beside it, for the API server to check service accounts' tokens with.
func (c *Cluster) publicKey(name string) error {
	b, err := os.ReadFile(c.ca.file(name + ".crt"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	if err != nil {
		return err
	}
	return os.WriteFile(c.ca.file(name+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}

func (c *Cluster) kubeconfigFile(user string) string {
	return filepath.Join(c.Dir, user+".kubeconfig")
}

// kubeconfig writes a kubeconfig that uses the certificate in the authority's directory.
func (c *Cluster) kubeconfig(file, user string) error {
	return c.writeKubeconfig(file, fmt.Sprintf("{client-certificate: %q, client-key: %q}", c.ca.file(user+".crt"), c.ca.file(user+".key")))
}

func (c *Cluster) writeKubeconfig(file, user string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: user, user: %s}]
contexts: [{name: e2e, context: {cluster: e2e, user: user}}]
current-context: e2e
`, c.Server, c.ca.file("ca.crt"), user), 0o600)
}

// StartAPIServer starts the API server and returns when it is ready.
func (c *Cluster) StartAPIServer() {
	c.t.Helper()
	c.start("kube-apiserver",
		"--etcd-servers", c.etcd, "--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", c.ports.api),
		"--service-cluster-ip-range=10.188.0.0/24", "--endpoint-reconciler-type=none", "--allow-privileged",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth",
		"--client-ca-file", c.ca.file("ca.crt"), "--tls-cert-file", c.ca.file("apiserver.crt"), "--tls-private-key-file", c.ca.file("apiserver.key"),
		"--kubelet-certificate-authority", c.ca.file("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate", c.ca.file("kubelet-client.crt"), "--kubelet-client-key", c.ca.file("kubelet-client.key"),
		"--service-account-key-file", c.ca.file("accounts.pub"), "--service-account-signing-key-file", c.ca.file("accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--requestheader-client-ca-file", c.ca.file("ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--proxy-client-cert-file", c.ca.file("front-proxy.crt"), "--proxy-client-key-file", c.ca.file("front-proxy.key"),
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-")
	c.Within(time.Minute, "the API server to be ready", func() error { return c.Do(http.MethodGet, "/readyz", nil, nil) })
}

// StopAPIServer ends the API server as a cut link would: at once.
func (c *Cluster) StopAPIServer() { c.stop("kube-apiserver", syscall.SIGKILL) }

// start runs a part of the control plane.
func (c *Cluster) start(name string, args ...string) {
	c.t.Helper()
	log, err := os.OpenFile(c.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatalf("opening the log of %s: %v", name, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(filepath.Join(c.Bin, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		c.t.Fatalf("starting %s: %v", name, err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	c.running[name] = p
}

func (c *Cluster) stop(name string, signal syscall.Signal) {
	p := c.running[name]
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	delete(c.running, name)
}

func (c *Cluster) logFile(name string) string { return filepath.Join(c.Dir, name+".log") }

// died names the parts that ended by themselves, with what they said last.
func (c *Cluster) died() string {
	var out []string
	for name, p := range c.running {
		select {
		case <-p.ended:
			b, _ := os.ReadFile(c.logFile(name))
			out = append(out, fmt.Sprintf("%s ended: %v\n%s", name, p.cmd.ProcessState, b[max(0, len(b)-3000):]))
		default:
		}
	}
	return strings.Join(out, "\n")
}

// Within polls ok until it returns nil, and fails with its last words otherwise.
func (c *Cluster) Within(limit time.Duration, what string, ok func() error) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if dead := c.died(); dead != "" || time.Now().After(deadline) {
			c.t.Fatalf("waited %v for %s: %v\n%s", limit, what, err, dead)
		}
	}
}

// Eventually is Within with patience for a busy machine.
func (c *Cluster) Eventually(what string, ok func() error) {
	c.t.Helper()
	c.Within(node.Patience, what, ok)
}

// address adds or removes the nodes' address.
func (c *Cluster) address(do func(netlink.Link, *netlink.Addr) error) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(c.NodeIP + "/32")
	if err != nil {
		return err
	}
	return do(lo, a)
}

// clear ends the control plane and removes its data.
func (c *Cluster) clear() {
	for _, name := range []string{"metrics-server", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"} {
		c.stop(name, syscall.SIGKILL)
	}
	if err := c.address(netlink.AddrDel); err != nil {
		c.t.Errorf("taking the nodes' address away: %v", err)
	}
	if c.t.Failed() && os.Getenv("AGENT_E2E_KEEP") != "" {
		c.t.Logf("kept: %s", c.Dir)
		return
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		c.t.Errorf("removing the cluster's directory: %v", err)
	}
}

// roots trust the cluster's authority alone.
func (c *Cluster) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(c.ca.cert)
	return roots
}
