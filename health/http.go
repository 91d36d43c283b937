package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	// kubeVersion is the minor version of Kubernetes we introduce ourselves with: servers tell probes by the User-Agent.
	kubeVersion  = "1.37"
	maxRedirects = 10
)

// HTTPTarget is an httpGet probe with everything resolved.
type HTTPTarget struct {
	Scheme  string // http (default) or https, in any case
	Host    string // IP or name to connect to
	Port    int
	Path    string      // with query; may be empty
	Headers http.Header // canonical names; a Host header names the virtual host; an empty Accept or User-Agent removes it
	// Protocol2 speaks HTTP/2 without TLS to a server that is known to (httpGet.protocol of Kubernetes 1.37).
	Protocol2 bool
	Dial      Dial // nil: from the host's network namespace

	purpose string // "probe" (default) or "lifecycle", in the User-Agent
}

// HTTP succeeds when a GET is answered with a status from 200 to 399 within the time. Redirects within the same host are
// followed; one to another host ends the try with Warning, as do answers such as 304. Certificates are not verified, no
// proxy is asked, the connection is used once.
func HTTP(t HTTPTarget) Try {
	req, err := t.request()
	if err != nil {
		return func(context.Context) Result { return result(Failure, err.Error()) }
	}
	client := &http.Client{Transport: exchange{t.Dial.orHost(), t.Protocol2}, CheckRedirect: sameHost}
	return func(ctx context.Context) Result { return get(client, req.WithContext(ctx)) }
}

// get makes a result of the answer to req.
func get(client *http.Client, req *http.Request) Result {
	res, err := client.Do(req)
	if err != nil {
		return result(Failure, err.Error())
	}
	defer res.Body.Close()
	var body []byte
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		body, err = io.ReadAll(io.LimitReader(res.Body, maxMessage))
	} else {
		_, err = io.CopyN(io.Discard, res.Body, maxMessage)
	}
	switch {
	case res.StatusCode < 200 || res.StatusCode >= 400:
		// Never the body: it would carry secrets of a pod's network into events (https://issue.k8s.io/99425).
		return result(Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", res.StatusCode))
	case err != nil && !errors.Is(err, io.EOF):
		// The kubelet throws such an answer away, so that a server that stalls in the body never fails.
		return result(Failure, fmt.Sprintf("Get %q: reading the body: %v", req.URL.Redacted(), err))
	case res.StatusCode >= 300:
		return result(Warning, fmt.Sprintf("Probe terminated redirects, Response body: %s", body))
	default:
		return Result{Outcome: Success}
	}
}

// request is the GET of the target, as the kubelet's pkg/probe/http makes it.
func (t HTTPTarget) request() (*http.Request, error) {
	u, err := url.Parse(t.Path)
	if err != nil {
		u = &url.URL{Path: t.Path} // the kubelet's legacy: pass it along as it is
	}
	u.Scheme = "http"
	if t.Scheme != "" {
		u.Scheme = strings.ToLower(t.Scheme)
	}
	u.Host = net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, u.String(), nil) // each try brings its own
	if err != nil {
		return nil, err
	}
	if h := t.Headers.Clone(); h != nil {
		req.Header = h
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		purpose := "probe"
		if t.purpose != "" {
			purpose = t.purpose
		}
		req.Header.Set("User-Agent", "kube-"+purpose+"/"+kubeVersion)
	}
	if accept, ok := req.Header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	} else if accept[0] == "" {
		req.Header.Del("Accept")
	}
	req.Host = req.Header.Get("Host")
	req.Close = true
	return req, nil
}

// sameHost stops before a redirect to another host name, and after ten to the same.
func sameHost(req *http.Request, via []*http.Request) error {
	if req.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	return nil
}
