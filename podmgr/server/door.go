package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"
)

// TLSConfig says how the agent is reached over the network, and by whom.
type TLSConfig struct {
	// Address is host:port.
	Address string
	// CertFile and KeyFile are the server's certificate; without them the agent makes one under PKIDir.
	CertFile, KeyFile string
	PKIDir            string
	// Certificate, when set, is asked at each connection for a certificate that goes before those; nil: there is none yet.
	Certificate func() *tls.Certificate
	// ClientCAFile holds the authorities of client certificates, TokenFile callers by token (see tokenFile).
	ClientCAFile, TokenFile string
	// Authenticators are asked after the files, in order.
	Authenticators []Authenticator
	// Authorizer says who may do what; Grants is one.
	Authorizer Authorizer
}

// Enabled says whether anybody could be let in; without that the door stays shut.
func (c TLSConfig) Enabled() bool {
	return c.ClientCAFile != "" || c.TokenFile != "" || len(c.Authenticators) > 0
}

// door is the TLS door: the handler tree behind authentication and authorisation.
type door struct {
	*Server
	authenticators []Authenticator
	authorizer     Authorizer
	conns          *connections
	origin         *http.CrossOriginProtection
}

// relisten is how long a busy port is left alone before it is tried again.
const relisten = 5 * time.Second

// RunTLS serves the network until ctx ends. What is wrong with the address or the certificate is reported and tried again:
// no trouble of this door ends the agent. A configuration that could never work is an error at once.
func (s *Server) RunTLS(ctx context.Context, c TLSConfig) error {
	if !c.Enabled() {
		return errors.New("serving TLS: neither a client CA nor a token file says who may come in")
	}
	if c.Authorizer == nil {
		return errors.New("serving TLS: nobody may do anything")
	}
	conf, d, err := s.tlsDoor(c)
	if err != nil {
		return fmt.Errorf("serving TLS: %w", err)
	}
	for {
		l, err := (&net.ListenConfig{KeepAlive: 15 * time.Second}).Listen(ctx, "tcp", c.Address)
		if err == nil {
			err = s.serveHTTP(ctx, tls.NewListener(l, conf), d, d.conns)
		}
		if ctx.Err() != nil {
			return nil
		}
		s.Log.Error().Err(err).Str("address", c.Address).Msg("serving TLS, will try again")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(relisten):
		}
	}
}

func (s *Server) tlsDoor(c TLSConfig) (*tls.Config, *door, error) {
	cert := &certificate{cert: c.CertFile, key: c.KeyFile, log: s.Log}
	if c.CertFile == "" {
		cert.cert, cert.key, cert.own = filepath.Join(c.PKIDir, ownCertificate), filepath.Join(c.PKIDir, ownKey), s.NodeName
	}
	if _, err := cert.get(nil); err != nil {
		s.Log.Error().Err(err).Msg("serving TLS, will try again at the next connection")
	}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c.Certificate != nil {
				if given := c.Certificate(); given != nil {
					return given, nil
				}
			}
			return cert.get(h)
		},
		// Of TLS 1.2 only what is authenticated encryption with forward secrecy; those of 1.3 all are.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		// Upgrades to SPDY and WebSocket are HTTP/1.1, and HTTP/2 brings attacks of its own.
		NextProtos: []string{"http/1.1"},
	}
	d := &door{
		Server: s, authorizer: c.Authorizer, conns: newConnections(maxConns, maxConnsPerIP), origin: http.NewCrossOriginProtection(),
	}
	if c.ClientCAFile != "" {
		cas := &clientCAs{path: c.ClientCAFile, log: s.Log}
		if _, err := cas.get(); err != nil {
			return nil, nil, err
		}
		d.authenticators = append(d.authenticators, clientCertificates{})
		conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pool, err := cas.get()
			if err != nil {
				return nil, err
			}
			mine := conf.Clone()
			mine.GetConfigForClient, mine.ClientCAs, mine.ClientAuth = nil, pool, tls.VerifyClientCertIfGiven
			// A resumed session would keep a client in whose authority was taken away.
			mine.SessionTicketsDisabled = true
			return mine, nil
		}
	}
	if c.TokenFile != "" {
		tokens, err := openTokens(c.TokenFile)
		if err != nil {
			return nil, nil, err
		}
		d.authenticators = append(d.authenticators, tokens)
	}
	d.authenticators = append(d.authenticators, c.Authenticators...)
	return conf, d, nil
}

// connKey is where a request's context holds its connection.
type connKey struct{}

// ServeHTTP lets through who may come in.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		defer d.conns.serving(conn)()
	}
	action := d.actionOf(r)
	if action == open && onLoopback(r) {
		d.serve(w, r, Caller{})
		return
	}
	if action == open {
		action = Read
	}
	caller, err := d.authenticate(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeError(w, &apiError{http.StatusUnauthorized, "Unauthorized"})
		return
	}
	if err := d.origin.Check(r); err != nil {
		writeError(w, forbidden(err.Error()))
		return
	}
	// What no route matches is nobody's secret once a caller is known.
	if action != "" {
		allowed, why, err := d.authorizer.Authorize(r.Context(), caller, action, r)
		if err != nil {
			d.Log.Warn().Err(err).Str("caller", caller.Name).Msg("authorising")
			why = "the decision could not be made"
		}
		if !allowed || err != nil {
			writeError(w, forbidden(fmt.Sprintf("forbidden: %s", why)))
			return
		}
	}
	d.serve(w, r, caller)
}

// authenticate asks one authenticator after the other. Which of them refused is for the log.
func (d *door) authenticate(r *http.Request) (Caller, error) {
	for _, a := range d.authenticators {
		c, err := a.Authenticate(r)
		if err == nil && c.Name != "" {
			return c, nil
		}
		if err != nil && !errors.Is(err, ErrNoCredentials) {
			d.Log.Warn().Err(err).Str("from", r.RemoteAddr).Msg("refusing a caller")
			return Caller{}, err
		}
	}
	return Caller{}, ErrNoCredentials
}

// onLoopback says whether a request did not leave the machine.
func onLoopback(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	here, err := netip.ParseAddrPort(local.String())
	return err == nil && here.Addr().Unmap().IsLoopback()
}
