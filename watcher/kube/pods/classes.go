package pods

import (
	"context"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// classes finds out which RuntimeClasses the node can serve. The handler of one never changes; one that is not there may
// come.
type classes struct {
	client   kubernetes.Interface
	handlers func() []string
	changed  func()
	group    sync.WaitGroup

	mu   sync.Mutex // guards what follows and the classes' values
	held map[string]*class
}

type class struct {
	cancel  context.CancelFunc
	ready   bool
	problem string
}

func newClasses(client kubernetes.Interface, handlers func() []string, changed func()) *classes {
	return &classes{client: client, handlers: handlers, changed: changed, held: map[string]*class{}}
}

// want looks for exactly these classes from now on.
func (c *classes) want(ctx context.Context, names map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, x := range c.held {
		if !names[name] {
			x.cancel()
			delete(c.held, name)
		}
	}
	for name := range names {
		if c.held[name] == nil {
			ctx, cancel := context.WithCancel(ctx)
			x := &class{cancel: cancel}
			c.held[name] = x
			c.group.Go(func() { c.find(ctx, name, x) })
		}
	}
}

func (c *classes) find(ctx context.Context, name string, x *class) {
	for failures := 1; ; failures++ {
		problem := c.problem(ctx, name)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		news := x.problem != problem || problem == ""
		x.problem, x.ready = problem, problem == ""
		c.mu.Unlock()
		if news {
			c.changed()
		}
		if problem == "" || !sleep(ctx, jittered(backOff(failures))) {
			return
		}
	}
}

// problem says why the node cannot serve a class, in the words of the kubelet and of a runtime; empty: it can.
func (c *classes) problem(ctx context.Context, name string) string {
	x, err := c.client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("RuntimeClass %q not found", name)
	case err != nil:
		return err.Error()
	case x.Handler != "" && x.Handler != "runc" && x.Handler != name:
		// The node's runtimes go by the name of their class, which is all that a pod has of it.
		return fmt.Sprintf("no runtime for %q is configured: the class must be called as its handler on this node", x.Handler)
	case x.Handler == "" || c.handlers != nil && slices.Contains(c.handlers(), x.Handler):
		return ""
	}
	return fmt.Sprintf("no runtime for %q is configured", x.Handler)
}

// of says whether the node can serve a class, and why not.
func (c *classes) of(name string) (ready bool, problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.held[name]; x != nil {
		return x.ready, x.problem
	}
	return false, ""
}
