package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Client speaks to an API server as its administrator. It is our own, because client-go belongs to the agent's source, and
// kubectl takes long to start.
type Client struct {
	server string
	http   *http.Client
}

// StatusError is what the API server answered in place of the object asked for.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the API server answered %d: %s", e.Code, e.Text)
}

// IsCode says whether the API server answered with an HTTP status.
func IsCode(err error, code int) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == code
}

// Do sends body (nothing, text or an object) to a path and decodes the answer into another (nothing, a *string or an object).
func (c *Client) Do(method, path string, body, into any) error {
	var in io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case string:
		in = bytes.NewBufferString(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("encoding the body for %s: %w", path, err)
		}
		in = bytes.NewReader(text)
	}
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	r, err := http.NewRequest(method, c.server+path, in)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kind)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	if answer.StatusCode >= 300 {
		return &StatusError{Code: answer.StatusCode, Text: string(text)}
	}
	switch to := into.(type) {
	case nil:
	case *string:
		*to = string(text)
	default:
		if err := json.Unmarshal(text, to); err != nil {
			return fmt.Errorf("decoding the answer of %s: %w", path, err)
		}
	}
	return nil
}

// Get reads an object.
func Get[T any](c *Client, path string) (T, error) {
	var o T
	err := c.Do(http.MethodGet, path, nil, &o)
	return o, err
}

// Create makes an object in a collection's path.
func (c *Cluster) Create(path string, o any) {
	c.t.Helper()
	if err := c.Do(http.MethodPost, path, o, nil); err != nil {
		c.t.Fatalf("creating in %s: %v", path, err)
	}
}

// Patch merges JSON into an object.
func (c *Cluster) Patch(path, patch string) {
	c.t.Helper()
	if err := c.Do(http.MethodPatch, path, patch, nil); err != nil {
		c.t.Fatalf("patching %s: %v", path, err)
	}
}

// Delete removes an object; how are query parameters such as gracePeriodSeconds=0.
func (c *Cluster) Delete(path, how string) {
	c.t.Helper()
	if err := c.Do(http.MethodDelete, path+"?"+how, nil, nil); err != nil {
		c.t.Fatalf("deleting %s: %v", path, err)
	}
}

// Command is kubectl, as the administrator.
func (c *Cluster) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.Bin, "kubectl"), append([]string{"--kubeconfig", c.kubeconfigFile("admin")}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+c.Dir) // its caches
	return cmd
}

// Kubectl runs kubectl and returns what it said on both streams.
func (c *Cluster) Kubectl(args ...string) (string, error) {
	cmd := c.Command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	return out.String(), err
}

// MustKubectl is Kubectl for what has to succeed.
func (c *Cluster) MustKubectl(args ...string) string {
	c.t.Helper()
	out, err := c.Kubectl(args...)
	if err != nil {
		c.t.Fatalf("kubectl %q: %v: %s", args, err, out)
	}
	return out
}
