package pods

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	requests "k8s.io/component-helpers/resource"
	corev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// refusal is why a pod is not run; Reason and Message are the kubelet's (pkg/kubelet/lifecycle/predicate.go).
type refusal struct{ Reason, Message string }

// reasonAffinity is the one refusal that a newer version of the node may lift.
const reasonAffinity = "NodeAffinity"

// admit says whether the node can run a pod beside the others that it runs; nil when it can. It is pure. Without a node
// only what concerns the machine is checked.
func admit(pod *v1.Pod, node *v1.Node, others []*v1.Pod) *refusal {
	if os, ok := pod.Labels[v1.LabelOSStable]; ok && os != runtime.GOOS {
		return &refusal{"PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	if pod.Spec.OS != nil && string(pod.Spec.OS.Name) != runtime.GOOS {
		return &refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if node == nil {
		return nil
	}
	if r := fits(pod, node, others); r != nil {
		return r
	}
	predicate := func(name, why string) *refusal {
		return &refusal{name, fmt.Sprintf("Predicate %s failed: %s", name, why)}
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); !ok || err != nil {
		return predicate(reasonAffinity, "node(s) didn't match Pod's node affinity/selector")
	}
	if portsClash(pod, others) {
		return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
	}
	noExecute := func(t *v1.Taint) bool { return t.Effect == v1.TaintEffectNoExecute }
	if _, found := corev1.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, pod.Spec.Tolerations, noExecute, true); found {
		return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return nil
}

// fits compares what the pods ask for with what the node has (scheduler: noderesources.Fits).
func fits(pod *v1.Pod, node *v1.Node, others []*v1.Pod) *refusal {
	outOf := func(name v1.ResourceName, asked, used, capacity int64) *refusal {
		return &refusal{"OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, asked, used, capacity)}
	}
	has := node.Status.Allocatable
	if most, ok := has[v1.ResourcePods]; ok && int64(len(others)+1) > most.Value() {
		return outOf(v1.ResourcePods, 1, int64(len(others)), most.Value())
	}
	if len(has) == 0 {
		return nil
	}
	asked, used := asks(pod), v1.ResourceList{}
	for _, o := range others {
		for name, q := range asks(o) {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	names := []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage}
	var more []v1.ResourceName
	for name := range asked {
		if !slices.Contains(names, name) {
			more = append(more, name)
		}
	}
	slices.Sort(more)
	for _, name := range append(names, more...) {
		q, there := has[name]
		if extended(name) && !there { // one of the cluster, which no node knows
			continue
		}
		a, u, c := amount(name, asked[name]), amount(name, used[name]), amount(name, q)
		if a > 0 && a > c-u {
			return outOf(name, a, u, c)
		}
	}
	return nil
}

func asks(p *v1.Pod) v1.ResourceList {
	return requests.PodRequests(p, requests.PodResourcesOptions{UseStatusResources: true})
}

func amount(name v1.ResourceName, q resource.Quantity) int64 {
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// extended says whether a resource is not one of Kubernetes' own.
func extended(name v1.ResourceName) bool {
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), "kubernetes.io/")
}

// hostPort is a port of the node that a pod takes.
type hostPort struct {
	ip       string
	port     int32
	protocol v1.Protocol
}

func (a hostPort) clashes(b hostPort) bool {
	any := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	return a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || any(a.ip) || any(b.ip))
}

func portsClash(pod *v1.Pod, others []*v1.Pod) bool {
	mine := hostPorts(pod)
	if len(mine) == 0 {
		return false
	}
	for _, o := range others {
		for _, b := range hostPorts(o) {
			if slices.ContainsFunc(mine, b.clashes) {
				return true
			}
		}
	}
	return false
}

// hostPorts are the ports of main containers and of sidecars.
func hostPorts(p *v1.Pod) []hostPort {
	var ports []hostPort
	add := func(c *v1.Container) {
		for _, port := range c.Ports {
			if port.HostPort <= 0 {
				continue
			}
			h := hostPort{port.HostIP, port.HostPort, port.Protocol}
			if h.protocol == "" {
				h.protocol = v1.ProtocolTCP
			}
			ports = append(ports, h)
		}
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i])
	}
	return ports
}
