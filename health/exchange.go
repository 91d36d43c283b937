package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxHeader bounds the header of an answer, maxRawBody the body as sent: more than we read, for the framing of chunks.
	maxHeader  = 256 << 10
	maxRawBody = 1 << 20
	// maxInformational is how many 1xx answers may come before the real one, as in http.Transport.
	maxInformational = 5
	// goodbye is how long a server may take to close first: the end that closes first keeps the TIME_WAIT.
	goodbye = 10 * time.Millisecond
)

// exchange makes one request over one new connection and closes it. It takes the place of http.Transport, which keeps
// three goroutines and 8 KiB of buffers per connection; here the caller's goroutine does all the work. HTTP/2 (where the
// server chooses it in the TLS handshake, as with the kubelet, or the probe demands it) is left to the Transport.
type exchange struct {
	dial  Dial
	http2 bool // HTTP/2 without TLS
}

// RoundTrip implements http.RoundTripper.
func (e exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	raw, err := e.dial(ctx, "tcp", address(req.URL))
	if err != nil {
		return nil, err
	}
	c := &call{Conn: raw, raw: raw}
	c.stop = expire(ctx, raw)
	res, err := e.over(ctx, c, req)
	if err != nil {
		c.Close()
		return nil, why(ctx, err)
	}
	res.Body = answer{res.Body, c, func(err error) error { return why(ctx, err) }}
	return res, nil
}

// over makes the request on an open connection.
func (e exchange) over(ctx context.Context, c *call, req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "https" {
		secure := tls.Client(c.raw, &tls.Config{
			InsecureSkipVerify: true, // as the kubelet: a probe asks whether it answers, not who it is
			ServerName:         req.URL.Hostname(),
			NextProtos:         []string{"h2", "http/1.1"},
		})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err // unwrapped: http.Client looks for tls.RecordHeaderError
		}
		c.Conn = secure
		if secure.ConnectionState().NegotiatedProtocol == "h2" {
			return roundTrip2(c, req)
		}
	} else if e.http2 {
		return roundTrip2(c, req)
	}
	return roundTrip1(c, req)
}

// roundTrip1 is HTTP/1.1.
func roundTrip1(c *call, req *http.Request) (*http.Response, error) {
	w := bufio.NewWriterSize(c.Conn, 1<<10)
	if err := req.Write(w); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	limit := &io.LimitedReader{R: c.Conn, N: maxHeader}
	r := bufio.NewReaderSize(limit, 1<<10)
	for range maxInformational + 1 {
		res, err := http.ReadResponse(r, req)
		switch {
		case err != nil && limit.N <= 0:
			return nil, fmt.Errorf("header of the answer is larger than %d bytes", maxHeader)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, io.EOF // what http.Transport says of a server that hangs up
		case err != nil:
			return nil, err
		case res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols:
			limit.N = maxRawBody
			return res, nil
		}
	}
	return nil, errors.New("too many 1xx informational responses")
}

// roundTrip2 is HTTP/2, with windows that keep a flood of body with the server.
func roundTrip2(c *call, req *http.Request) (*http.Response, error) {
	use := func(context.Context, string, string) (net.Conn, error) { return c.Conn, nil }
	t := &http.Transport{
		DialContext:            use,
		DialTLSContext:         use,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10},
	}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	c.transport = t
	return t.RoundTrip(req)
}

// address is host:port of a URL, with the port of its scheme when it has none.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// call is one connection of an exchange.
type call struct {
	net.Conn  // what HTTP is spoken over: raw, or TLS over it
	raw       net.Conn
	stop      func() bool
	transport *http.Transport // of HTTP/2, else nil
}

// Close hangs up.
func (c *call) Close() {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	c.stop()
	hangUp(c.raw)
}

// answer is the body of a response, owning its connection.
type answer struct {
	io.ReadCloser
	call *call
	why  func(error) error // names the end of the request's time as the cause
}

func (a answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = a.why(err)
	}
	return n, err
}

// Close lets the server close first if it does so at once, and hangs up.
func (a answer) Close() error {
	if a.call.transport != nil {
		_ = a.ReadCloser.Close()
	} else if a.call.stop() {
		_ = a.call.raw.SetReadDeadline(time.Now().Add(goodbye))
		_, _ = io.CopyN(io.Discard, a.call.raw, maxHeader)
	}
	a.call.Close()
	return nil
}
