package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Files of the certificate that the agent makes for itself, under PKIDir.
const (
	ownCertificate = "agent.crt"
	ownKey         = "agent.key"
)

// How long a self-made certificate is valid, and how long before its end it is made anew.
const (
	ownValidity = 5 * 365 * 24 * time.Hour
	ownRenewal  = 30 * 24 * time.Hour
)

// certificate is the server's certificate, read again when its files change. A change that cannot be read is reported and
// the last good one stays.
type certificate struct {
	cert, key string
	own       string // node name of a certificate that the agent makes itself; empty for one that was given
	log       zerolog.Logger

	mu     sync.Mutex // guards the rest; held while the files are read
	stamp  [2]fileStamp
	loaded *tls.Certificate
}

// get implements tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(); err != nil {
		if c.loaded == nil {
			return nil, err
		}
		c.log.Error().Err(err).Msg("serving with the last good certificate")
	}
	return c.loaded, nil
}

// load reads the files when they have changed, and makes them when they are the agent's own.
func (c *certificate) load() error {
	if c.own != "" && (c.loaded == nil || time.Until(c.loaded.Leaf.NotAfter) < ownRenewal) {
		if err := c.renew(); err != nil {
			return err
		}
	}
	var stamp [2]fileStamp
	for i, path := range []string{c.cert, c.key} {
		var err error
		if stamp[i], err = stampOf(path); err != nil {
			return fmt.Errorf("reading the server's certificate: %w", err)
		}
	}
	if c.loaded != nil && stamp == c.stamp {
		return nil
	}
	c.stamp = stamp // one bad state is reported once
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("reading the server's certificate: %w", err)
	}
	sum := sha256.Sum256(pair.Leaf.Raw)
	c.log.Info().Str("file", c.cert).Str("sha256", hex.EncodeToString(sum[:])).Time("until", pair.Leaf.NotAfter).Msg("serving with certificate")
	c.loaded = &pair
	return nil
}

// renew makes the agent's own certificate when there is none, or none that lasts.
func (c *certificate) renew() error {
	old, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil && time.Until(old.Leaf.NotAfter) > ownRenewal {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn().Err(err).Msg("making the server's certificate anew")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the server's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("making the server's certificate: %w", err)
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: c.own},
		// A clock that is behind when the box boots must not make the certificate one of the future.
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(ownValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, DNSNames: []string{c.own, "localhost"}, IPAddresses: ownAddresses(),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return fmt.Errorf("making the server's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the server's key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(c.cert), 0o700); err != nil {
		return fmt.Errorf("creating the directory of the server's certificate: %w", err)
	}
	if err := replaceFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return replaceFile(c.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// ownAddresses are those under which this node may be called.
func ownAddresses() []net.IP {
	out := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	all, _ := net.InterfaceAddrs() // without them the name is left
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			out = append(out, n.IP)
		}
	}
	return out
}

// replaceFile writes a file so that it is never seen half written.
func replaceFile(path string, b []byte, mode os.FileMode) error {
	tmp := path + newSuffix
	if err := os.WriteFile(tmp, b, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// clientCAs are the authorities whose certificates clients may show, read again when their file changes.
type clientCAs struct {
	path string
	log  zerolog.Logger

	mu    sync.Mutex // guards the rest; held while the file is read
	stamp fileStamp
	pool  *x509.CertPool
}

func (c *clientCAs) get() (*x509.CertPool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := stampOf(c.path)
	if err == nil && c.pool != nil && stamp == c.stamp {
		return c.pool, nil
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(c.path)
	}
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(b) {
		err = fmt.Errorf("%s holds no certificate", c.path)
	}
	if err != nil {
		if c.pool == nil {
			return nil, fmt.Errorf("reading the client CA: %w", err)
		}
		c.stamp = stamp
		c.log.Error().Err(err).Msg("keeping the last good client CA")
		return c.pool, nil
	}
	c.pool, c.stamp = pool, stamp
	return pool, nil
}
