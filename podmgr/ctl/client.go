package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultSocket is where the agent listens.
const DefaultSocket = "/run/agent/agent.sock"

// Client speaks to an agent, over its socket or over the network.
type Client struct {
	base  url.URL
	token string
	dial  func(ctx context.Context) (net.Conn, error)
	http  http.Client
	now   func() time.Time // what ages are counted from
}

// Streams are a command's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// NewClient returns a client of the agent at socket; it connects with each request and needs no closing.
func NewClient(socket string) *Client {
	c := &Client{base: url.URL{Scheme: "http", Host: "agent"}, now: time.Now}
	c.dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, &UnreachableError{Socket: socket, Err: err}
		}
		return conn, nil
	}
	c.http.Transport = c.transport()
	return c
}

// transport connects by dial, whatever the address; TLS is part of it.
func (c *Client) transport() *http.Transport {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) }
	return &http.Transport{
		DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true, DisableCompression: true, ReadBufferSize: copySize,
	}
}

// do sends a request and returns the answer's body when its status is good.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader) (io.ReadCloser, error) {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if unreachable := (*UnreachableError)(nil); errors.As(err, &unreachable) {
		return nil, unreachable
	}
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w", errors.Unwrap(err))
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, statusOf(resp)
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	u := c.base
	u.Path, u.RawQuery = path, query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// statusOf is the error that an answer holds.
func statusOf(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var s metav1.Status
	if err != nil || json.Unmarshal(b, &s) != nil || s.Message == "" {
		s.Message = resp.Status
		if text := strings.TrimSpace(string(b)); err == nil && text != "" && resp.StatusCode != http.StatusUnauthorized {
			s.Message = text
		}
	}
	return &StatusError{Code: resp.StatusCode, Message: s.Message}
}

// get reads a JSON answer into v.
func (c *Client) get(ctx context.Context, path string, query url.Values, v any) error {
	body, err := c.do(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("reading the agent's answer: %w", err)
	}
	return nil
}

// Pods returns every pod of the node.
func (c *Client) Pods(ctx context.Context) (*v1.PodList, error) {
	var list v1.PodList
	return &list, c.get(ctx, "/pods", nil, &list)
}

// Problems returns what is wrong in the manifests.
func (c *Client) Problems(ctx context.Context) ([]Problem, error) {
	var list []Problem
	err := c.get(ctx, "/problems", nil, &list)
	return list, err
}

// Events returns the events of one pod, of a namespace when name is empty, or all.
func (c *Client) Events(ctx context.Context, namespace, name string) (*v1.EventList, error) {
	q := url.Values{}
	if namespace != "" {
		q.Set("namespace", namespace)
	}
	if name != "" {
		q.Set("name", name)
	}
	var list v1.EventList
	return &list, c.get(ctx, "/events", q, &list)
}

// pod returns one pod by its name.
func (c *Client) pod(ctx context.Context, namespace, name string) (*v1.Pod, error) {
	list, err := c.Pods(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if p := &list.Items[i]; p.Namespace == namespace && p.Name == name {
			return p, nil
		}
	}
	return nil, notFound("pods", name)
}

// watch calls each for every line of a JSON stream until ctx or the agent ends; the latter is an error.
func (c *Client) watch(ctx context.Context, path string, query url.Values, each func(line json.RawMessage) error) error {
	query.Set("watch", "true")
	body, err := c.do(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	for d := json.NewDecoder(body); ; {
		var line json.RawMessage
		switch err := d.Decode(&line); {
		case ctx.Err() != nil:
			return nil // the user ended it
		case errors.Is(err, io.EOF):
			return errors.New("the agent ended the watch")
		case err != nil:
			return fmt.Errorf("watching: %w", err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}
