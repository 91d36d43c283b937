package containerd

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	v1 "k8s.io/api/core/v1"
)

// runcRuntime is containerd's name for the runtimes that are called as runc is.
const runcRuntime = "io.containerd.runc.v2"

// handler is what a RuntimeClass stands for: a containerd runtime, and the OCI runtime it calls where it is runc's.
type handler struct {
	runtime, binary string
}

// parseHandlers reads --runtime-class: NAME=RUNTIME[:BINARY], such as kata=io.containerd.kata.v2 or
// crun=io.containerd.runc.v2:/usr/bin/crun.
func parseHandlers(list []string) (map[string]handler, error) {
	out := map[string]handler{}
	for _, s := range list {
		name, rest, ok := strings.Cut(s, "=")
		runtime, binary, _ := strings.Cut(rest, ":")
		if !ok || name == "" || runtime == "" {
			return nil, fmt.Errorf("reading --runtime-class %q: want NAME=RUNTIME[:BINARY], such as crun=%s:/usr/bin/crun", s, runcRuntime)
		}
		if binary != "" && runtime != runcRuntime {
			return nil, fmt.Errorf("reading --runtime-class %q: only %s takes a binary", s, runcRuntime)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("reading --runtime-class %q: %s is named twice", s, name)
		}
		out[name] = handler{runtime: runtime, binary: binary}
	}
	return out, nil
}

// handler is what runs a pod. A class that the node does not have is refused in the kubelet's words. A class of an API
// server that is not among --runtime-class has the default handler: the source lets no other through.
func (r *Runtime) handler(p *v1.Pod) (handler, error) {
	byDefault := handler{runtime: runcRuntime, binary: r.cfg.OCIRuntime}
	name := p.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return byDefault, nil
	}
	if h, known := r.handlers[*name]; known {
		return h, nil
	}
	if p.ResourceVersion != "" {
		return byDefault, nil
	}
	return handler{}, fmt.Errorf("failed to get sandbox runtime: runtimeclass.node.k8s.io %q not found (see --runtime-class)", *name)
}

// runtimeInfo is the runtime of a pod's containers as containerd knows it; ids is the pod's range.
func (r *Runtime) runtimeInfo(p *v1.Pod, ids idRange) (containers.RuntimeInfo, error) {
	h, err := r.handler(p)
	if err != nil || h.runtime != runcRuntime {
		return containers.RuntimeInfo{Name: h.runtime}, err // its options are its own business
	}
	o, err := typeurl.MarshalAny(&options.Options{
		BinaryName: h.binary, SystemdCgroup: r.cgroups.systemd,
		Root:  filepath.Join(r.cfg.State, "runc"), // not shared with another agent, and gone after a reboot
		IoUid: uint32(ids), IoGid: uint32(ids),
	})
	if err != nil {
		return containers.RuntimeInfo{}, fmt.Errorf("encoding runtime options: %w", err)
	}
	return containers.RuntimeInfo{Name: r.engine.runtime, Options: o}, nil
}

// handlerAnnotations tell runtimes that run a pod as one (kata, gVisor) which containers are one, in the words of
// containerd's CRI.
func (r *Runtime) handlerAnnotations(p *v1.Pod, kind, name string) map[string]string {
	h, err := r.handler(p)
	if err != nil || h.runtime == runcRuntime {
		return nil
	}
	a := map[string]string{
		"io.kubernetes.cri.container-type": kind, "io.kubernetes.cri.sandbox-id": sandboxID(p.UID),
		"io.kubernetes.cri.sandbox-name": p.Name, "io.kubernetes.cri.sandbox-namespace": p.Namespace, "io.kubernetes.cri.sandbox-uid": string(p.UID),
	}
	if kind == kindContainer {
		a["io.kubernetes.cri.container-name"] = name
	}
	return a
}
