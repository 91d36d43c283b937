package pods

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAdmissionGivesTheKubeletsReasons(t *testing.T) {
	node := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{"zone": "a", "kubernetes.io/arch": "amd64"}},
		Spec:       v1.NodeSpec{Taints: []v1.Taint{{Key: "down", Effect: v1.TaintEffectNoExecute}, {Key: "soft", Effect: v1.TaintEffectNoSchedule}}},
		Status:     v1.NodeStatus{Allocatable: list("cpu", "1", "memory", "1Gi", "pods", "3", "example.com/gpu", "1")},
	}
	tolerant := func(p *v1.Pod) { p.Spec.Tolerations = []v1.Toleration{{Key: "down", Operator: v1.TolerationOpExists}} }
	asking := func(pairs ...string) func(*v1.Pod) {
		return func(p *v1.Pod) { p.Spec.Containers[0].Resources.Requests = list(pairs...) }
	}
	port := func(ip string) func(*v1.Pod) {
		return func(p *v1.Pod) { p.Spec.Containers[0].Ports = []v1.ContainerPort{{HostPort: 80, HostIP: ip}} }
	}
	affinity := func(zone string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "zone", Operator: v1.NodeSelectorOpIn, Values: []string{zone}}}}},
			}}}
		}
	}
	pods := func(changes ...func(*v1.Pod)) (list []*v1.Pod) {
		for _, c := range changes {
			list = append(list, apiPod("other", c))
		}
		return list
	}
	plain := func(*v1.Pod) {}
	for name, c := range map[string]struct {
		change func(*v1.Pod)
		others []*v1.Pod
		want   *refusal
	}{
		"a pod that asks for nothing": {change: plain},
		"cpu": {
			asking("cpu", "600m"), pods(asking("cpu", "500m")),
			&refusal{"OutOfcpu", "Node didn't have enough resource: cpu, requested: 600, used: 500, capacity: 1000"},
		},
		"memory":                             {asking("memory", "2Gi"), nil, &refusal{"OutOfmemory", "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824"}},
		"the number of pods":                 {plain, pods(plain, plain, plain), &refusal{"OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"}},
		"a device of the node":               {asking("example.com/gpu", "1"), pods(asking("example.com/gpu", "1")), &refusal{"OutOfexample.com/gpu", "Node didn't have enough resource: example.com/gpu, requested: 1, used: 1, capacity: 1"}},
		"a resource of the cluster":          {change: asking("example.com/licence", "1")},
		"a node selector that does not fit":  {func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/arch": "arm64"} }, nil, &refusal{"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}},
		"an affinity that does not fit":      {affinity("b"), nil, &refusal{"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}},
		"an affinity that fits":              {change: affinity("a")},
		"a host port that is taken":          {port(""), pods(port("10.0.0.1")), &refusal{"NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}},
		"a host port at another address":     {port("10.0.0.2"), pods(port("10.0.0.1")), nil},
		"a taint that is not tolerated":      {func(p *v1.Pod) { p.Spec.Tolerations = nil }, nil, &refusal{"TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"}},
		"a pod for another operating system": {func(p *v1.Pod) { p.Spec.OS = &v1.PodOS{Name: v1.Windows} }, nil, &refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, admit(apiPod("web", tolerant, c.change), node, c.others)); d != "" {
				t.Error(d)
			}
		})
	}
	if no := admit(apiPod("web", asking("cpu", "99")), nil, nil); no != nil {
		t.Errorf("without a node nothing is known, but the answer is %v", no)
	}
}
