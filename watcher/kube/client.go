//go:build !nokube

package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/rs/zerolog"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

// clients are three ways to one API server, over one set of connections: so that neither a flood of events nor one of
// pods holds up the node's heartbeat.
type clients struct {
	kube      kubernetes.Interface // pods and what belongs to them
	events    kubernetes.Interface
	heartbeat kubernetes.Interface // node status and lease; never waits for a rate limit
	// host is the address of the API server, for origins.
	host string
}

// Rates of the kubelet: kubeAPIQPS, kubeAPIBurst and those of events.
const (
	apiQPS   = 50
	apiBurst = 100
)

// heartbeatTimeout is as long as the node may take between two looks at its status; the kubelet's is the shorter of that
// and the lease's duration.
func heartbeatTimeout(every time.Duration) time.Duration { return min(every, leaseSeconds*time.Second) }

// newClients makes the clients. Nothing is sent.
func newClients(config *rest.Config, version string, every time.Duration) (clients, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = fmt.Sprintf("edgepod-agent/%s (%s/%s)", version, runtime.GOOS, runtime.GOARCH)
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	out := clients{host: config.Host}
	for _, c := range []struct {
		client  *kubernetes.Interface
		qps     float32
		timeout time.Duration
	}{
		{&out.kube, apiQPS, 0},
		{&out.events, apiQPS, 30 * time.Second},
		{&out.heartbeat, -1, heartbeatTimeout(every)},
	} {
		mine := rest.CopyConfig(config)
		mine.QPS, mine.Burst, mine.Timeout = c.qps, apiBurst, c.timeout
		set, err := kubernetes.NewForConfig(mine)
		if err != nil {
			return clients{}, fmt.Errorf("preparing a client of the API server: %w", err)
		}
		*c.client = set
	}
	return out, nil
}

// errNoCertificate says that the API server has not given the agent a certificate yet, or that the last one has ended.
var errNoCertificate = errors.New("waiting for a client certificate")

// identity is the client certificate of the agent.
type identity interface {
	// Current returns the certificate to use now; nil when there is none that is valid.
	Current() *tls.Certificate
}

// rotatingTransport has every connection begin with the certificate that id has at that moment. The function closes all
// connections, so that the next ones begin with another.
func rotatingTransport(config *rest.Config, id identity) (*rest.Config, func(), error) {
	conf, err := rest.TLSConfigFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, nil, fmt.Errorf("reading whom to trust as the API server: %w", err)
	}
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c := id.Current(); c != nil {
			return c, nil
		}
		return nil, errNoCertificate // as nobody the API server would refuse everything
	}
	d := connrotation.NewDialer((&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext)
	out := rest.AnonymousClientConfig(config)
	out.Transport = utilnet.SetTransportDefaults(&http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: conf,
		MaxIdleConnsPerHost: 25, DialContext: d.DialContext,
	})
	out.TLSClientConfig = rest.TLSClientConfig{} // the transport has it
	return out, d.CloseAll, nil
}

// plainTransport leaves credentials to client-go: a token, its file, or a plugin.
func plainTransport(config *rest.Config) (*rest.Config, func()) {
	d := connrotation.NewDialer((&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext)
	out := rest.CopyConfig(config)
	out.Dial = d.DialContext
	return out, d.CloseAll
}

// closeOnChange closes all connections when the certificate is another, until ctx ends.
func closeOnChange(ctx context.Context, id identity, every time.Duration, closeAll func(), log zerolog.Logger) {
	last := id.Current()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := id.Current()
		if now == nil || last != nil && len(now.Certificate) > 0 && len(last.Certificate) > 0 && string(now.Certificate[0]) == string(last.Certificate[0]) {
			continue
		}
		last = now
		event := log.Info()
		if now.Leaf != nil {
			event = event.Time("until", now.Leaf.NotAfter)
		}
		event.Msg("a new client certificate: the connections with the API server begin anew")
		closeAll()
	}
}
