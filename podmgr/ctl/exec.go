package ctl

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ExecOptions are the flags of `kubectl exec` and `kubectl attach`.
type ExecOptions struct {
	Namespace string // empty means "default"
	Pod       string
	Container string
	Stdin     bool
	TTY       bool
	Quiet     bool
	Command   []string // of exec
}

// Exec runs a command in a container of a pod, and returns *ExitError when it ends with a code other than 0.
func Exec(ctx context.Context, c *Client, s Streams, o ExecOptions) error {
	if len(o.Command) == 0 {
		return UsageError("exec wants a pod and a command: agent exec POD -- COMMAND [ARG ...]")
	}
	return c.stream(ctx, s, o, "/exec", url.Values{"command": o.Command})
}

// Attach shows what a running container prints from now on, until it ends.
func Attach(ctx context.Context, c *Client, s Streams, o ExecOptions) error {
	return c.stream(ctx, s, o, "/attach", url.Values{})
}

func (c *Client) stream(ctx context.Context, s Streams, o ExecOptions, route string, q url.Values) error {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	p, err := c.pod(ctx, o.Namespace, podName(o.Pod))
	if err != nil {
		return err
	}
	if o.Container, err = o.container(p, s); err != nil {
		return err
	}
	if route == "/attach" && o.TTY && !hasTTY(&p.Spec, o.Container) {
		if !o.Quiet {
			fmt.Fprintf(s.Err, "Unable to use a TTY - container %s did not allocate one\n", o.Container)
		}
		o.TTY = false
	}
	k := command{path: path.Join(route, o.Namespace, p.Name, string(p.UID), o.Container), query: q, in: reader(s.In, o.Stdin), out: s.Out}
	in := terminalOf(s.In)
	if o.TTY && (in == nil || !o.Stdin) {
		if !o.Quiet {
			fmt.Fprintln(s.Err, "Unable to use a TTY - input is not a terminal or the right kind of file")
		}
		o.TTY = false
	}
	if !o.TTY {
		k.errOut = s.Err
		return c.runCommand(ctx, k)
	}
	k.tty = true
	return withTerminal(ctx, in, terminalOf(s.Out), func(ctx context.Context, sizes <-chan windowSize) error {
		k.resize = sizes
		return c.runCommand(ctx, k)
	})
}

// hasTTY says whether a container is made with a terminal.
func hasTTY(spec *v1.PodSpec, name string) bool {
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		if c.Name == name {
			return c.TTY
		}
	}
	for _, c := range spec.EphemeralContainers {
		if c.Name == name {
			return c.TTY
		}
	}
	return false
}

// container says in which container, and tells the user when it had to choose.
func (o *ExecOptions) container(p *v1.Pod, s Streams) (string, error) {
	l := LogsOptions{Container: o.Container}
	w := s.Err
	if o.Quiet {
		w = discard{}
	}
	names, err := l.containers(p, w)
	if err != nil {
		return "", err
	}
	return names[0], nil
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
