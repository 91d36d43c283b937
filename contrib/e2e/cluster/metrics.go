package cluster

import (
	"fmt"
	"net/http"
	"path/filepath"
)

// StartMetricsServer runs metrics-server beside the API server, which then answers `kubectl top`.
func (c *Cluster) StartMetricsServer() {
	c.t.Helper()
	c.start("metrics-server", "--kubeconfig", c.kubeconfigFile("metrics-client"), "--authentication-kubeconfig", c.kubeconfigFile("metrics-client"),
		"--authorization-kubeconfig", c.kubeconfigFile("metrics-client"), "--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", c.ports.metrics),
		"--tls-cert-file", c.ca.file("metrics.crt"), "--tls-private-key-file", c.ca.file("metrics.key"), "--metric-resolution=10s", "--kubelet-request-timeout=8s",
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-use-node-status-port", "--kubelet-certificate-authority", c.ca.file("ca.crt"),
		"--cert-dir", filepath.Join(c.Dir, "metrics-certs"))
	for path, o := range map[string]string{
		// The API server may not be sent to a loopback address by endpoints, but may by a name.
		"/api/v1/namespaces/kube-system/services": `{"metadata":{"name":"metrics-server"},"spec":{"type":"ExternalName","externalName":"localhost"}}`,
		"/apis/apiregistration.k8s.io/v1/apiservices": fmt.Sprintf(`{"metadata":{"name":"v1beta1.metrics.k8s.io"},"spec":{"group":"metrics.k8s.io",
			"version":"v1beta1","groupPriorityMinimum":100,"versionPriority":100,"insecureSkipTLSVerify":true,
			"service":{"name":"metrics-server","namespace":"kube-system","port":%d}}}`, c.ports.metrics),
	} {
		if err := c.Do(http.MethodPost, path, o, nil); err != nil {
			c.t.Fatalf("announcing metrics-server: %v", err)
		}
	}
}
