package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"
)

// RemoteOptions say how an agent is reached over the network.
type RemoteOptions struct {
	URL string // https://host:10250
	// Token, or the client certificate in CertFile and KeyFile, says who asks.
	Token, CertFile, KeyFile string
	// CAFile holds the authorities that the agent's certificate may come from, or that certificate itself; empty means
	// those of the system.
	CAFile string
	// Insecure trusts any certificate.
	Insecure bool
}

// NewRemoteClient returns a client of the agent at a URL.
func NewRemoteClient(o RemoteOptions) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return nil, UsageError(fmt.Sprintf("server %q is no URL such as https://host:10250", o.URL))
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "10250")
	}
	conf := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure} //nolint:gosec // asked for
	if o.CAFile != "" {
		b, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate authority: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("reading the certificate authority: %s holds no certificate", o.CAFile)
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	c := &Client{base: url.URL{Scheme: "https", Host: u.Host}, token: o.Token, now: time.Now}
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: conf}
	c.dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := d.DialContext(ctx, "tcp", address)
		if verify := (*tls.CertificateVerificationError)(nil); errors.As(err, &verify) {
			err = fmt.Errorf("%w (give the agent's certificate, agent.crt below its --root, as --certificate-authority)", verify.Err)
		}
		if err != nil {
			return nil, &UnreachableError{Socket: u.Host, Err: err}
		}
		return conn, nil
	}
	c.http.Transport = c.transport()
	return c, nil
}
