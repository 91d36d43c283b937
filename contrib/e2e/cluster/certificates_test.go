package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

const requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// bootstrap is a node that has a token and nothing else; then its certificate is about to end, and then has ended.
func bootstrap(t *testing.T, c *Cluster, _ *node.Node) {
	joinable(t, c)
	token := c.kubeconfigFile("bootstrap")
	if err := c.writeKubeconfig(token, `{token: abcdef.0123456789abcdef}`); err != nil {
		t.Fatal(err)
	}
	own, certs := c.kubeconfigFile("two"), scratch(c, "two-certs")
	n := bare(t, c, "two", node.External, "--kubeconfig", own, "--bootstrap-kubeconfig", token, "--cert-dir", certs, "--rotate-server-certificates")
	n.Start()
	ready(t, c, "two")
	first, err := current(certs, "client")
	if err != nil {
		t.Fatalf("reading the client certificate: %v", err)
	}
	if first.Subject.CommonName != "system:node:two" || strings.Join(first.Subject.Organization, ",") != "system:nodes" {
		t.Errorf("the client certificate is for %s", first.Subject)
	}
	if b, err := os.ReadFile(own); err != nil || strings.Contains(string(b), "abcdef") {
		t.Errorf("the kubeconfig holds the bootstrap token or cannot be read (%v)", err)
	}

	// Its serving certificate is for a person to approve; until then nobody can talk to it.
	c.Eventually("the serving certificate to be asked for and issued", func() error { return approve(c, "two") })
	c.Create(pods, sleeper("second", "two"))
	running(t, c, "second")
	said(t, c, "second", "second", "hostname")
	before := processes(n)

	for _, old := range []struct {
		name       string
		begin, end time.Duration
	}{
		{"a client certificate near its end is renewed", -10 * time.Hour, 10 * time.Minute},
		{"one that ended while the node was off is made anew", -10 * time.Hour, -time.Hour},
	} {
		t.Run(old.name, func(t *testing.T) {
			c := c.For(t)
			n.Use(t)
			n.Stop()
			cert, key, err := c.ca.Issue(Identity{
				File: "two-old", Name: "system:node:two", Groups: []string{"system:nodes"},
				NotBefore: time.Now().Add(old.begin), End: time.Now().Add(old.end),
			})
			if err != nil {
				t.Fatal(err)
			}
			replace(t, filepath.Join(certs, "kubelet-client-current.pem"), cert, key)
			since := time.Now()
			n.Start()
			c.Eventually("another certificate", func() error {
				now, err := current(certs, "client")
				if err != nil { // its link is being moved
					return err
				}
				if now.NotAfter.Before(time.Now().Add(time.Hour)) {
					return fmt.Errorf("it ends at %v", now.NotAfter)
				}
				return nil
			})
			c.Eventually("the lease to be renewed with it", func() error {
				if l := lease(t, c, "two"); !l.Spec.RenewTime.After(since) {
					return fmt.Errorf("it was at %v", l.Spec.RenewTime)
				}
				return nil
			})
		})
	}
	if now := processes(n); now != before {
		t.Errorf("the certificates changed the pods\nbefore: %s\nafter:  %s", before, now)
	}
}

// joinable makes a bootstrap token, and lets who has it, and nodes, get client certificates.
func joinable(t *testing.T, c *Cluster) {
	c.Create("/api/v1/namespaces/kube-system/secrets", object(t, `{"metadata":{"name":"bootstrap-token-abcdef"},"type":"bootstrap.kubernetes.io/token",
		"stringData":{"token-id":"abcdef","token-secret":"0123456789abcdef","usage-bootstrap-authentication":"true","auth-extra-groups":"system:bootstrappers:e2e"}}`))
	for role, group := range map[string]string{
		"system:node-bootstrapper": "system:bootstrappers:e2e",
		"system:certificates.k8s.io:certificatesigningrequests:nodeclient":     "system:bootstrappers:e2e",
		"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": "system:nodes",
	} {
		c.Create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", object(t,
			`{"metadata":{"name":%q},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},
			"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":%q}]}`, "e2e:"+role, role, group))
	}
}

// approve approves a node's request for a serving certificate; nil when one has been issued.
func approve(c *Cluster, name string) error {
	l, err := Get[certificatesv1.CertificateSigningRequestList](&c.Client, requests)
	if err != nil {
		return err
	}
	for _, r := range l.Items {
		switch {
		case r.Spec.SignerName != certificatesv1.KubeletServingSignerName || r.Spec.Username != "system:node:"+name:
		case len(r.Status.Certificate) > 0:
			return nil
		case len(r.Status.Conditions) == 0:
			if out, err := c.Kubectl("certificate", "approve", r.Name); err != nil {
				return fmt.Errorf("approving: %w: %s", err, out)
			}
		}
	}
	return fmt.Errorf("no serving certificate among %d requests", len(l.Items))
}

// current is the certificate in use of a --cert-dir, as the kubelet lays it out.
func current(dir, kind string) (*x509.Certificate, error) {
	file := filepath.Join(dir, "kubelet-"+kind+"-current.pem")
	pair, err := tls.LoadX509KeyPair(file, file)
	return pair.Leaf, err
}

// replace puts a certificate and its key, as one file, in the place of another.
func replace(t *testing.T, file, cert, key string) {
	t.Helper()
	var both []byte
	for _, f := range []string{cert, key} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(b); block == nil {
			t.Fatalf("%s holds no PEM", f)
		}
		both = append(both, b...)
	}
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
}
