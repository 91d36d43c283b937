package containerd

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	cni "github.com/containerd/go-cni"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// portMappings are the ports of the node that a pod takes: those of its main containers and of its sidecars, and those of
// init containers, which no two of them use at a time. With hostNetwork they are the containers' own.
func portMappings(p *v1.Pod) []cni.PortMapping {
	var out []cni.PortMapping
	for _, list := range [][]v1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			for _, port := range list[i].Ports {
				m := cni.PortMapping{HostPort: port.HostPort, ContainerPort: port.ContainerPort, Protocol: protocol(port.Protocol), HostIP: port.HostIP}
				taken := func(o cni.PortMapping) bool { return overlap(m, o) }
				if m.HostPort != 0 && !slices.ContainsFunc(out, taken) {
					out = append(out, m)
				}
			}
		}
	}
	return out
}

func protocol(p v1.Protocol) string {
	switch p {
	case v1.ProtocolUDP:
		return "udp"
	case v1.ProtocolSCTP:
		return "sctp"
	}
	return "tcp"
}

// overlap says whether two pods cannot have both ports: an address that is not given is all of them.
func overlap(a, b cni.PortMapping) bool {
	return a.HostPort == b.HostPort && a.Protocol == b.Protocol && (a.HostIP == b.HostIP || everywhere(a.HostIP) || everywhere(b.HostIP))
}

func everywhere(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err != nil || a.IsUnspecified()
}

func portText(m cni.PortMapping) string {
	if everywhere(m.HostIP) {
		return fmt.Sprintf("%d/%s", m.HostPort, m.Protocol)
	}
	return fmt.Sprintf("%d/%s on %s", m.HostPort, m.Protocol, m.HostIP)
}

// portBook knows which pods hold which ports of the node. It is filled from the pods' files when the agent starts.
type portBook struct {
	mu      sync.Mutex
	held    map[types.UID]heldPorts
	changed chan struct{} // closed, and replaced, when ports have become free
}

type heldPorts struct {
	key   manifests.Key
	ports []cni.PortMapping
}

func newPortBook() *portBook {
	return &portBook{held: map[types.UID]heldPorts{}, changed: make(chan struct{})}
}

// take gives a pod all its ports or, when another one holds one of them, none: then it says which and who, and freed is
// closed when it is worth another try. fresh says that the pod did not hold them yet.
func (b *portBook) take(p *manifests.Pod, force bool) (fresh bool, clash string, freed <-chan struct{}) {
	want := portMappings(p.Object)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, has := b.held[p.UID()]; has || len(want) == 0 {
		return false, "", nil
	}
	for uid, h := range b.held {
		if uid == p.UID() || force {
			continue
		}
		for _, m := range want {
			if slices.ContainsFunc(h.ports, func(o cni.PortMapping) bool { return overlap(m, o) }) {
				return false, fmt.Sprintf("host port %s is held by pod %s", portText(m), h.key), b.changed
			}
		}
	}
	b.held[p.UID()] = heldPorts{p.Key(), want}
	return true, "", nil
}

// free gives a pod's ports back.
func (b *portBook) free(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, has := b.held[uid]; !has {
		return
	}
	delete(b.held, uid)
	close(b.changed)
	b.changed = make(chan struct{})
}

// portWait is how long one EnsureSandbox waits for its ports; the next goes on with it.
const portWait = 100 * time.Second

// takePorts waits until the pod has its ports. Meanwhile a note tells who holds them.
func (r *Runtime) takePorts(ctx context.Context, p *manifests.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, portWait)
	defer cancel()
	told := ""
	for {
		fresh, clash, freed := r.ports.take(p, false)
		if clash == "" {
			if told != "" {
				r.notes.set(p.UID(), "", []string{podmgr.ReasonHostPort})
			}
			if fresh {
				r.warnForeign(p)
			}
			return nil
		}
		if clash != told {
			told = clash
			r.notes.set(p.UID(), "", []string{podmgr.ReasonHostPort}, podmgr.Note{
				Reason: podmgr.ReasonHostPort, Message: clash + "; waiting until it is free", Waits: true,
			})
			r.nudge(p.Key())
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return &podmgr.ReasonError{Reason: podmgr.ReasonHostPort, Err: fmt.Errorf("waiting for its ports: %s", clash)}
		}
	}
}

// holdPorts enters the ports of the pods that have a sandbox, when the agent starts.
func (r *Runtime) holdPorts() {
	for _, uid := range r.index.uids() {
		p, err := readPodFile(r.podDir(uid))
		if err != nil || p.Pod == nil || p.Pod.UID != uid || !r.index.has(sandboxID(uid)) {
			continue
		}
		r.ports.take(&manifests.Pod{Object: p.Pod}, true)
	}
}
