package metrics

import (
	"fmt"
	"net"

	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/container/containerd"
	"github.com/google/cadvisor/lib/watcher"
)

// open makes the handler of a cgroup; nil when it is too early for one.
func (h *housekeeper) open(e cgroupEntry) (handler, error) {
	switch {
	case e.kind == kindPod:
		return newGroup(e.name, h.podMounts, h.machine, h.groups)
	case e.kind != kindContainer:
		return newGroup(e.name, h.mounts, h.machine, h.groups)
	}
	// Before the first process, containerd may not know the task yet, and cAdvisor would sleep until it does.
	if !h.tree.populated(e.name) || !h.connect() {
		return nil, nil
	}
	hd, accepted, err := container.NewContainerHandler(e.name, watcher.Raw, nil, true)
	if err != nil {
		return nil, fmt.Errorf("opening container cgroup %s: %w", e.name, err)
	}
	if !accepted {
		return nil, fmt.Errorf("opening container cgroup %s: it is not in containerd's namespace %s", e.name, h.config.Namespace)
	}
	if isSandbox(hd.GetContainerLabels()) {
		return newSandboxHandler(hd)
	}
	return hd, nil
}

// connect registers cAdvisor's containerd factory, once the socket answers. The factory and its client are global in
// cAdvisor: a process has one, for one socket; and a client whose first attempt fails stays broken, hence the dial.
func (h *housekeeper) connect() bool {
	if h.connected {
		return true
	}
	c, err := (&net.Dialer{Timeout: dialLimit}).Dial("unix", h.config.Socket)
	if err != nil {
		h.log.Debug().Err(err).Msg("containerd's socket does not answer yet")
		return false
	}
	_ = c.Close()
	*containerd.ArgContainerdEndpoint, *containerd.ArgContainerdNamespace = h.config.Socket, h.config.Namespace
	container.ClearContainerHandlerFactories()
	if err := containerd.Register(h.machine, h.machine.facts.Load().filesystems, h.inside); err != nil {
		h.log.Warn().Err(err).Msg("containers cannot be sampled yet")
		return false
	}
	h.connected = true
	return true
}

// isSandbox says whether a container is the holder of a pod's namespaces (containerd's CRI plugin labels it so too).
func isSandbox(labels map[string]string) bool { return labels["io.cri-containerd.kind"] == "sandbox" }
