package podmgr

import (
	"context"
	"errors"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Hooks are told what goes on, so that somebody may count it. Each may be nil; they are called from any goroutine and must
// not block.
type Hooks struct {
	// Operated is told of every call of the Runtime, by the name that the kubelet has for what the CRI would do:
	// run_podsandbox, start_container, stop_container, podsandbox_status, …
	Operated func(operation string, took time.Duration, err error)
	// Pulled is told of every pull that asked a registry: the size of the image in bytes as it is stored.
	Pulled func(size int64, took time.Duration, err error)
	// StartFailed is told of every container that could not be started; kind is container, init_container or
	// ephemeral_container.
	StartFailed func(kind, reason string)
	// Waited is told how long a pod waited for the first look of its worker.
	Waited func(waited time.Duration)
	// Worked is told of every look of a worker at its pod and what it decided; operation is create, sync or terminate.
	Worked func(operation string, took time.Duration)
	// Probed is told every result of a probe, in the words of the labels of the kubelet's prober_probe_total.
	Probed func(pod *v1.Pod, container, kind, result string, took time.Duration)
}

// measured is a Runtime that tells the hooks of its calls.
type measured struct {
	Runtime
	hooks Hooks
}

// measure returns r itself when nobody wants to know.
func measure(r Runtime, h Hooks) Runtime {
	if h.Operated == nil && h.Pulled == nil && h.StartFailed == nil {
		return r
	}
	return &measured{r, h}
}

// told tells how a call went that began at began. A call that was cancelled says nothing of the runtime.
func (m *measured) told(operation string, began time.Time, err error) {
	if m.hooks.Operated != nil && !errors.Is(err, context.Canceled) {
		m.hooks.Operated(operation, time.Since(began), err)
	}
}

func (m *measured) Keys(ctx context.Context) ([]manifests.Key, error) {
	began := time.Now()
	keys, err := m.Runtime.Keys(ctx)
	m.told("list_podsandbox", began, err)
	return keys, err
}

func (m *measured) Observe(ctx context.Context, k manifests.Key) (Observed, error) {
	began := time.Now()
	have, err := m.Runtime.Observe(ctx, k)
	m.told("podsandbox_status", began, err)
	return have, err
}

func (m *measured) Pull(ctx context.Context, p *manifests.Pod, ref string, policy PullPolicy) (PullResult, error) {
	began := time.Now()
	r, err := m.Runtime.Pull(ctx, p, ref, policy)
	neverAsked := err == nil && !r.Pulled || reasonOf(err) == reasonNeverPull || reasonOf(err) == reasonInvalidImage
	switch {
	case neverAsked:
		m.told("image_status", began, nil)
	case m.hooks.Pulled != nil && !errors.Is(err, context.Canceled):
		m.hooks.Pulled(r.Bytes, time.Since(began), err)
	}
	return r, err
}

func (m *measured) EnsureSandbox(ctx context.Context, p *manifests.Pod) error {
	began := time.Now()
	err := m.Runtime.EnsureSandbox(ctx, p)
	m.told("run_podsandbox", began, err)
	return err
}

func (m *measured) Start(ctx context.Context, p *manifests.Pod, s Instance) error {
	began := time.Now()
	err := m.Runtime.Start(ctx, p, s)
	if reasonOf(err) == ReasonNoSandbox {
		return err // the sandbox's failure, which is told as such
	}
	m.told("start_container", began, err)
	if err != nil && m.hooks.StartFailed != nil && !errors.Is(err, context.Canceled) {
		m.hooks.StartFailed(containerType(p.Object, s.Container), orElse(reasonOf(err), "Unknown"))
	}
	return err
}

func (m *measured) Exec(ctx context.Context, id string, c Command) error {
	began := time.Now()
	err := m.Runtime.Exec(ctx, id, c)
	var failed error
	if exit := (*ExitError)(nil); !errors.As(err, &exit) {
		failed = err // a command that answers no is no error of the runtime
	}
	m.told("exec_sync", began, failed)
	return err
}

func (m *measured) Stop(ctx context.Context, id string, grace time.Duration) error {
	began := time.Now()
	err := m.Runtime.Stop(ctx, id, grace)
	m.told("stop_container", began, err)
	return err
}

func (m *measured) Remove(ctx context.Context, id string) error {
	began := time.Now()
	err := m.Runtime.Remove(ctx, id)
	m.told("remove_container", began, err)
	return err
}

func (m *measured) RemoveSandbox(ctx context.Context, id string) error {
	began := time.Now()
	err := m.Runtime.RemoveSandbox(ctx, id)
	m.told("stop_podsandbox", began, err)
	return err
}

func (m *measured) Forget(ctx context.Context, k manifests.Key, uid types.UID) error {
	began := time.Now()
	err := m.Runtime.Forget(ctx, k, uid)
	m.told("remove_podsandbox", began, err)
	return err
}

// containerType is the kubelet's container_type label.
func containerType(pod *v1.Pod, name string) string {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return "init_container"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return "ephemeral_container"
		}
	}
	return "container"
}
