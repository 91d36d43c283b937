package pods

import (
	"context"
	"fmt"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
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
	handler string
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
		handler, problem := c.handler(ctx, name)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		news := x.problem != problem || problem == ""
		x.handler, x.problem, x.ready = handler, problem, problem == ""
		c.mu.Unlock()
		if news {
			c.changed()
		}
		if problem == "" || !sleep(ctx, jittered(backOff(failures))) {
			return
		}
	}
}

// handler is what a class stands for, or why the node cannot serve it, in the words of the kubelet and of a runtime.
func (c *classes) handler(ctx context.Context, name string) (handler, problem string) {
	x, err := c.client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Sprintf("RuntimeClass %q not found", name)
	case err != nil:
		return "", err.Error()
	case x.Handler == "" || c.handlers != nil && slices.Contains(c.handlers(), x.Handler):
		return x.Handler, ""
	}
	return "", fmt.Sprintf("no runtime for %q is configured", x.Handler)
}

// of says whether the node can serve a class, with which handler, and why not.
func (c *classes) of(name string) (ready bool, handler, problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.held[name]; x != nil {
		return x.ready, x.handler, x.problem
	}
	return false, "", ""
}

// classOf is the RuntimeClass that a pod names, empty when it names none.
func classOf(p *v1.Pod) string {
	if p.Spec.RuntimeClassName == nil {
		return ""
	}
	return *p.Spec.RuntimeClassName
}

// handled is the pod with the handler in place of the class that stands for it: the node's runtimes know no classes of an
// API server. One and the same pod comes back as one and the same pointer.
func (w *wanted) handled(p *v1.Pod, c *classes) *v1.Pod {
	ready, handler, _ := c.of(classOf(p))
	if !ready || handler == classOf(p) {
		return p
	}
	if w.from != p {
		o := *p
		if o.Spec.RuntimeClassName = &handler; handler == "" || handler == defaultHandler {
			o.Spec.RuntimeClassName = nil
		}
		w.from, w.to = p, &o
	}
	return w.to
}

// defaultHandler is the name under which the default runtime may be asked for too.
const defaultHandler = "runc"
