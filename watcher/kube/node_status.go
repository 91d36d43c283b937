//go:build !nokube

package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// maxImages and maxNames bound node.status.images, as the kubelet's nodeStatusMaxImages does.
const (
	maxImages = 50
	maxNames  = 5
)

// pressures are the conditions that eviction has found.
type pressures struct{ memory, disk, pid bool }

// facts are what one look at the node saw; a status is made of it without I/O.
type facts struct {
	machine   machine
	addresses []v1.NodeAddress
	images    []v1.ContainerImage
	runtime   string // version of containerd
	handlers  []v1.NodeRuntimeHandler
	pressures pressures
	// notReady is what keeps the node from running pods; nil when nothing does.
	notReady error
	now      metav1.Time
}

// look gathers the facts.
func (n *Node) look(ctx context.Context) facts {
	f := facts{now: metav1.Now(), runtime: n.host.RuntimeVersion(ctx), handlers: n.host.Handlers(), pressures: n.pressures()}
	var errs []error
	if err := n.host.Runtime(ctx); err != nil {
		errs = append(errs, fmt.Errorf("container runtime is down: %w", err))
	}
	if err := n.host.Network(); err != nil {
		errs = append(errs, fmt.Errorf("container runtime network not ready: %w", err))
	}
	var err error
	if f.machine, err = readMachine("/proc", "/sys", n.host.Root); err != nil {
		errs = append(errs, err)
	}
	if f.addresses, err = n.addresses(); err != nil {
		errs = append(errs, err)
	}
	if f.images, err = n.images(ctx); err != nil {
		n.log.Warn().Err(err).Msg("listing images for the node's status")
	}
	f.notReady = errors.Join(errs...)
	return f
}

// images are the largest, those with the fewest names first among equals.
func (n *Node) images(ctx context.Context) ([]v1.ContainerImage, error) {
	all, err := n.host.Images(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b v1.ContainerImage) int {
		if a.SizeBytes != b.SizeBytes {
			return int(min(1, max(-1, b.SizeBytes-a.SizeBytes)))
		}
		return strings.Compare(strings.Join(a.Names, " "), strings.Join(b.Names, " "))
	})
	all = all[:min(len(all), maxImages)]
	for i := range all {
		all[i].Names = all[i].Names[:min(len(all[i].Names), maxNames)]
	}
	return all, nil
}

// addresses are those of the flags, or the one of the default route.
func (n *Node) addresses() (out []v1.NodeAddress, err error) {
	for _, ip := range n.cfg.Node.IPs {
		if ip.IsUnspecified() {
			continue
		}
		if err := onThisHost(ip); err != nil {
			return nil, err
		}
		out = append(out, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip.String()})
	}
	if len(out) == 0 {
		var wish net.IP
		if len(n.cfg.Node.IPs) > 0 {
			wish = n.cfg.Node.IPs[0]
		}
		ip, err := utilnet.ResolveBindAddress(wish)
		if err != nil {
			return nil, fmt.Errorf("finding the node's address: %w", err)
		}
		out = append(out, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip.String()})
	}
	return append(out, v1.NodeAddress{Type: v1.NodeHostName, Address: n.host.Name}), nil
}

// onThisHost says why ip cannot be the node's.
func onThisHost(ip net.IP) error {
	if ip.IsLoopback() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return fmt.Errorf("--node-ip %s: nobody else could reach that", ip)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("listing the node's addresses: %w", err)
	}
	for _, a := range addresses {
		if mine, ok := a.(*net.IPNet); ok && mine.IP.Equal(ip) {
			return nil
		}
	}
	return fmt.Errorf("--node-ip %s: no interface has it", ip)
}

// wantedNode is the Node object to create.
func (n *Node) wantedNode(f facts) *v1.Node {
	out := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.host.Name, Labels: n.labels(), Annotations: map[string]string{
		"volumes.kubernetes.io/controller-managed-attach-detach": "true",
	}}}
	out.Spec.Taints = slices.Clone(n.cfg.Node.Taints)
	n.fillStatus(&out.Status, f)
	return out
}

// labels are those that every node has, and those of the flag.
func (n *Node) labels() map[string]string {
	out := map[string]string{
		v1.LabelHostname: n.host.Name, v1.LabelOSStable: runtime.GOOS, v1.LabelArchStable: runtime.GOARCH,
		"beta.kubernetes.io/os": runtime.GOOS, "beta.kubernetes.io/arch": runtime.GOARCH,
	}
	maps.Copy(out, n.cfg.Node.Labels)
	return out
}

// fillStatus writes what the facts say into a status, and leaves alone what others put there.
func (n *Node) fillStatus(s *v1.NodeStatus, f facts) {
	if f.machine.cpus > 0 {
		n.fillResources(s, f.machine)
	}
	if len(f.addresses) > 0 {
		s.Addresses = f.addresses
	}
	s.NodeInfo.ContainerRuntimeVersion = "containerd://" + orDefault(f.runtime, "Unknown")
	s.NodeInfo.KubeletVersion = n.host.KubeletVersion
	s.NodeInfo.OperatingSystem, s.NodeInfo.Architecture = runtime.GOOS, runtime.GOARCH
	s.DaemonEndpoints.KubeletEndpoint.Port = n.cfg.Node.Port
	if f.images != nil {
		s.Images = f.images
	}
	s.RuntimeHandlers = f.handlers
	yes := true
	s.Features = &v1.NodeFeatures{SupplementalGroupsPolicy: &yes}
	s.VolumesInUse = nil // nothing that a controller attaches is ever mounted here
	for _, c := range conditions(f) {
		setCondition(s, c, f.now)
	}
}

func (n *Node) fillResources(s *v1.NodeStatus, m machine) {
	if s.Capacity == nil {
		s.Capacity = v1.ResourceList{}
	}
	for name := range s.Capacity {
		if _, still := m.hugepages[string(name)]; !still && strings.HasPrefix(string(name), v1.ResourceHugePagesPrefix) {
			delete(s.Capacity, name)
		}
	}
	maps.Copy(s.Capacity, m.capacity(n.cfg.Node.MaxPods)) // extended resources are somebody else's
	s.Allocatable = allocatable(s.Capacity, n.cfg.Node, n.cfg.Eviction.Hard)
	s.NodeInfo.MachineID, s.NodeInfo.SystemUUID, s.NodeInfo.BootID = m.machineID, m.systemUUID, m.bootID
	s.NodeInfo.KernelVersion, s.NodeInfo.OSImage = m.kernel, m.osImage
	s.NodeInfo.Swap = nil
	if m.swap > 0 {
		s.NodeInfo.Swap = &v1.NodeSwapStatus{Capacity: &m.swap}
	}
}

// conditions are what the kubelet says of a node, in its words. Ready is the last one.
func conditions(f facts) []v1.NodeCondition {
	pressure := func(t v1.NodeConditionType, is bool, yes, no, yesMessage, noMessage string) v1.NodeCondition {
		if is {
			return v1.NodeCondition{Type: t, Status: v1.ConditionTrue, Reason: yes, Message: yesMessage}
		}
		return v1.NodeCondition{Type: t, Status: v1.ConditionFalse, Reason: no, Message: noMessage}
	}
	ready := v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if f.notReady != nil {
		ready.Status, ready.Reason, ready.Message = v1.ConditionFalse, "KubeletNotReady", strings.ReplaceAll(f.notReady.Error(), "\n", ", ")
	}
	return []v1.NodeCondition{
		pressure(v1.NodeMemoryPressure, f.pressures.memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory",
			"kubelet has insufficient memory available", "kubelet has sufficient memory available"),
		pressure(v1.NodeDiskPressure, f.pressures.disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure",
			"kubelet has disk pressure", "kubelet has no disk pressure"),
		pressure(v1.NodePIDPressure, f.pressures.pid, "KubeletHasInsufficientPID", "KubeletHasSufficientPID",
			"kubelet has insufficient PID available", "kubelet has sufficient PID available"),
		ready,
	}
}

// setCondition replaces the condition of that type; its time of transition changes with its status.
func setCondition(s *v1.NodeStatus, c v1.NodeCondition, now metav1.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	for i, old := range s.Conditions {
		if old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// condition is one of a status, or nil.
func condition(s *v1.NodeStatus, t v1.NodeConditionType) *v1.NodeCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// statusChanged says whether two statuses differ in more than the time of the heartbeat.
func statusChanged(a, b *v1.NodeStatus) bool {
	still := func(s *v1.NodeStatus) *v1.NodeStatus {
		s = s.DeepCopy()
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		slices.SortStableFunc(s.Conditions, func(a, b v1.NodeCondition) int { return strings.Compare(string(a.Type), string(b.Type)) })
		return s
	}
	return !equality.Semantic.DeepEqual(still(a), still(b))
}
