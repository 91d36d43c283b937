package podmgr

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"edgepod.dev/agent/health"
	"edgepod.dev/agent/manifests"
	"k8s.io/apimachinery/pkg/types"

	v1 "k8s.io/api/core/v1"
)

// maxOutput is how much of a command's output probes and hooks look at, in bytes, as with the kubelet.
const maxOutput = 10 << 10

// hook completes a step that runs a postStart or preStop hook. Its pod is one that the worker knows, or it would not have
// been planned.
func (w *worker) hook(s *step) {
	pod := w.mem.recalled[s.uid].pod
	spec, _ := named(pod, s.container)
	s.hook = preStopHook(spec)
	if s.verb == postStart {
		s.hook = postStartHook(spec)
	}
	s.place = w.place(pod, spec, s.target)
}

// hooked takes in the end of a hook. Its error may hold a secret of the workload: as with the kubelet, no event shows it.
func (w *worker) hooked(s *step, err error, now time.Time) {
	c := w.have.container(s.target)
	if c == nil {
		return
	}
	if s.verb == preStop {
		w.mem.note(s.target).preStopped = true
		if err != nil && now.Before(s.began.Add(s.grace)) {
			w.record(s.container, warning, "FailedPreStopHook", "PreStopHook failed")
		}
	} else {
		m := w.mem.mark(c)
		m.Hooked = err == nil
		if err != nil && m.Ended == "" {
			m.Ended = EndedByHook
			w.mem.note(s.target).hookError = err.Error()
			w.record(s.container, warning, reasonHookFailed, "PostStartHook failed")
		}
		w.mem.setMark(c, m)
	}
	line := w.log.Info()
	if err != nil {
		line = w.log.Warn().Err(err)
	}
	line.Str("container", s.container).Int("attempt", s.attempt).Dur("took", now.Sub(s.began)).Msg(s.verb.String())
}

// place is where the probes and hooks of an instance find it.
func (w *worker) place(pod *v1.Pod, spec *v1.Container, id string) health.Place {
	return health.Place{
		PodIP: w.podIP(pod.UID, pod.Spec.HostNetwork), Ports: spec.Ports, Exec: w.exec(id), Expand: expander(spec),
	}
}

// podIP is the address at which a pod is reached from the node.
func (w *worker) podIP(uid types.UID, hostNetwork bool) string {
	if hostNetwork {
		if w.node.hostIP != nil {
			if ip := w.node.hostIP(); ip != "" {
				return ip
			}
		}
		return "127.0.0.1" // a box without a network
	}
	if sb := w.have.sandbox(uid); sb != nil && len(sb.IPs) > 0 {
		return sb.IPs[0]
	}
	return ""
}

// expander replaces $(NAME) by what the manifest sets NAME to; as with the kubelet, what comes from elsewhere is empty.
func expander(spec *v1.Container) func(string) string {
	return func(word string) string {
		return manifests.Expand(word, func(name string) (string, bool) {
			for i := len(spec.Env) - 1; i >= 0; i-- {
				if spec.Env[i].Name == name {
					return spec.Env[i].Value, true
				}
			}
			return "", false
		})
	}
}

// exec runs commands in an instance for its probes and hooks.
func (w *worker) exec(id string) health.Exec {
	return func(ctx context.Context, command []string) (code int, out []byte, err error) {
		var o output
		err = w.runtime.Exec(ctx, id, Command{Args: command, Stdout: &o, Stderr: &o})
		if exit := (*ExitError)(nil); errors.As(err, &exit) {
			return exit.Code, o.bytes(), nil
		}
		return 0, o.bytes(), err
	}
}

// output keeps the beginning of what a command writes to both its outputs, and swallows the rest.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b[:min(len(b), maxOutput-o.buf.Len())])
	return len(b), nil
}

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Bytes()
}
