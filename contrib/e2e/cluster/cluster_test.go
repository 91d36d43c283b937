package cluster

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// TestNode takes one node through what a cluster does with it. One control plane serves all parts, because it takes
// longer to start than most of them; those that stop it or empty the node come last.
func TestNode(t *testing.T) {
	c := New(t, built.cluster)
	n := member(t, c, "one", node.Embedded, "--node-labels", "e2e.edgepod.dev/kind=first", "--register-with-taints", "e2e.edgepod.dev/new=yes:NoSchedule")
	n.Start()
	parts := func(t *testing.T, parallel bool, list ...part) {
		t.Helper()
		for _, p := range list {
			t.Run(p.name, func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				p.test(t, c.For(t), n)
			})
		}
	}
	parts(t, false, part{"the node registers itself", registers})
	c.StartMetricsServer()
	t.Run("side by side", func(t *testing.T) {
		parts(t, true,
			part{"a Deployment, a DaemonSet and a Job", workloads},
			part{"kubectl's ways into a container", verbs},
			part{"a Secret changes under a running pod", secret},
			part{"files beside the API server", files},
			part{"kubectl top by metrics-server", top},
			part{"the node's own API is closed to strangers", access},
			part{"a pod that the node cannot take", rejection},
		)
	})
	parts(t, false,
		part{"the API server stops and comes back", heartbeats},
		part{"drain", drain},
		part{"bootstrap and rotation", bootstrap},
		part{"a reboot without the API server", offline},
	)
}

// part is a part of TestNode.
type part struct {
	name string
	test func(*testing.T, *Cluster, *node.Node)
}

func registers(t *testing.T, c *Cluster, n *node.Node) {
	got := ready(t, c, "one")
	if got.Labels["e2e.edgepod.dev/kind"] != "first" || got.Labels[v1.LabelHostname] != "one" || got.Labels[v1.LabelOSStable] != "linux" {
		t.Errorf("the node has the labels %v", got.Labels)
	}
	taints := fmt.Sprint(got.Spec.Taints)
	if !strings.Contains(taints, "e2e.edgepod.dev/new") {
		t.Errorf("the node has the taints %s", taints)
	}
	c.Patch("/api/v1/nodes/one", `{"spec":{"taints":[]}}`)
	for _, what := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage, v1.ResourcePods} {
		if q := got.Status.Allocatable[what]; q.IsZero() {
			t.Errorf("the node has no %s to allocate", what)
		}
		if q := got.Status.Capacity[what]; q.IsZero() {
			t.Errorf("the node has no capacity of %s", what)
		}
	}
	addresses := fmt.Sprint(got.Status.Addresses)
	if !strings.Contains(addresses, "{InternalIP "+c.NodeIP+"}") || !strings.Contains(addresses, "{Hostname one}") {
		t.Errorf("the node has the addresses %s", addresses)
	}
	info := got.Status.NodeInfo
	if info.BootID == "" || info.KernelVersion == "" || info.OSImage == "" || info.KubeletVersion == "" || !strings.HasPrefix(info.ContainerRuntimeVersion, "containerd://") {
		t.Errorf("the node says of itself %+v", info)
	}
	for _, kind := range []v1.NodeConditionType{v1.NodeMemoryPressure, v1.NodeDiskPressure, v1.NodePIDPressure} {
		if s := condition(&got, kind); s.Status != v1.ConditionFalse {
			t.Errorf("the node's %s is %q", kind, s.Status)
		}
	}
	c.Eventually("the node to name its images", func() error {
		got, err := Get[v1.Node](&c.Client, "/api/v1/nodes/one")
		if err != nil || !strings.Contains(fmt.Sprint(got.Status.Images), node.Busybox) {
			return but(err, "%v", got.Status.Images)
		}
		return nil
	})
	if first := lease(t, c, "one"); *first.Spec.HolderIdentity != "one" || *first.Spec.LeaseDurationSeconds != 40 || age(*first.Spec.RenewTime) > 40*time.Second {
		t.Errorf("the lease is %+v", first.Spec)
	}
}

func lease(t *testing.T, c *Cluster, name string) coordinationv1.Lease {
	t.Helper()
	l, err := Get[coordinationv1.Lease](&c.Client, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"+name)
	if err != nil || l.Spec.HolderIdentity == nil || l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		t.Fatalf("reading the lease of node %s: %+v, %v", name, l.Spec, err)
	}
	return l
}

func workloads(t *testing.T, c *Cluster, _ *node.Node) {
	const template = `{"metadata":{"labels":{"app":%[1]q}},"spec":{"nodeSelector":{"kubernetes.io/hostname":"one"},"terminationGracePeriodSeconds":1,
		"automountServiceAccountToken":false,"restartPolicy":%[2]q,"containers":[{"name":"app","image":%[3]q,"command":["sh","-c",%[4]q]}]}}`
	sleep := "trap 'exit 0' TERM; " + node.Sleep
	apps := "/apis/apps/v1/namespaces/default/"
	c.Create(apps+"deployments", object(t, `{"metadata":{"name":"deploy"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"deploy"}},"template":`+template+`}}`,
		"deploy", "Always", node.Busybox, sleep))
	c.Create(apps+"daemonsets", object(t, `{"metadata":{"name":"daemon"},"spec":{"selector":{"matchLabels":{"app":"daemon"}},"template":`+template+`}}`,
		"daemon", "Always", node.Busybox, sleep))
	c.Create("/apis/batch/v1/namespaces/default/jobs", object(t, `{"metadata":{"name":"job"},"spec":{"completions":2,"parallelism":1,"template":`+template+`}}`,
		"job", "Never", node.Busybox, "echo done"))
	deployed := func(want int32) func() error {
		return func() error {
			d, err := Get[appsv1.Deployment](&c.Client, apps+"deployments/deploy")
			if err != nil || d.Status.ReadyReplicas != want || d.Status.Replicas != want {
				return but(err, "%+v", d.Status)
			}
			return nil
		}
	}
	c.Eventually("the Deployment's two pods", deployed(2))
	c.Eventually("the DaemonSet's pod", func() error {
		d, err := Get[appsv1.DaemonSet](&c.Client, apps+"daemonsets/daemon")
		if err != nil || d.Status.NumberReady != 1 {
			return but(err, "%+v", d.Status)
		}
		return nil
	})
	c.Eventually("the Job to complete", func() error {
		j, err := Get[batchv1.Job](&c.Client, "/apis/batch/v1/namespaces/default/jobs/job")
		if err != nil || j.Status.Succeeded != 2 || j.Status.CompletionTime == nil {
			return but(err, "%+v", j.Status)
		}
		return nil
	})
	c.Patch(apps+"deployments/deploy", `{"spec":{"replicas":1}}`)
	c.Eventually("the Deployment to shrink", deployed(1))
	for _, path := range []string{apps + "deployments/deploy", "/apis/batch/v1/namespaces/default/jobs/job"} {
		c.Delete(path, "propagationPolicy=Background")
	}
	c.Eventually("the Deployment's and the Job's pods to go", func() error {
		l, err := Get[v1.PodList](&c.Client, pods+"?labelSelector=app+in+(deploy,job)")
		if err != nil || len(l.Items) > 0 {
			return but(err, "%d are left", len(l.Items))
		}
		return nil
	})
}

// secret is a Secret that changes under a running pod: its volume follows, its environment does not.
func secret(t *testing.T, c *Cluster, _ *node.Node) {
	c.Create("/api/v1/namespaces/default/secrets", object(t, `{"metadata":{"name":"rotated"},"stringData":{"word":"before"}}`))
	p := sleeper("secret", "one")
	withSecret(p, "rotated")
	p.Spec.Containers[0].Env = []v1.EnvVar{{Name: "WORD", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{
		LocalObjectReference: v1.LocalObjectReference{Name: "rotated"}, Key: "word",
	}}}}
	c.Create(pods, p)
	first := running(t, c, "secret")
	said(t, c, "secret", "before before", "sh", "-c", "echo $(cat /s/word) $WORD")
	c.Patch("/api/v1/namespaces/default/secrets/rotated", `{"stringData":{"word":"after"}}`)
	said(t, c, "secret", "after before", "sh", "-c", "echo $(cat /s/word) $WORD")
	if now := running(t, c, "secret"); node.Container(now, "app").ContainerID != node.Container(first, "app").ContainerID {
		t.Error("the rotation replaced the container")
	}
}

func top(t *testing.T, c *Cluster, _ *node.Node) {
	c.Create(pods, sleeper("measured", "one"))
	running(t, c, "measured")
	c.Eventually("the node to have measured the pod", func() error {
		scrape, err := c.Kubectl("get", "--raw", "/api/v1/nodes/one/proxy/metrics/resource")
		for _, want := range []string{"node_cpu_usage_seconds_total", "node_memory_working_set_bytes", `pod="measured"`} {
			if err != nil || !strings.Contains(scrape, want) {
				return but(err, "it lacks %s: %s", want, scrape)
			}
		}
		return nil
	})
	// The pods of the API server are counted beside those of files.
	scrape := c.MustKubectl("get", "--raw", "/api/v1/nodes/one/proxy/metrics")
	if !regexp.MustCompile(`(?m)^kubelet_desired_pods\{static=""\} [1-9]`).MatchString(scrape) {
		t.Errorf("the metrics count no pod of the API server: %s", regexp.MustCompile(`(?m)^kubelet_desired_pods.*$`).FindAllString(scrape, -1))
	}
	for what, want := range map[string]string{"node": `(?m)^one\s+\d+m\s+\d+%\s+\d+Mi`, "pod": `(?m)^measured\s+\d+m\s+\d+Mi`} {
		c.Within(time.Minute, "kubectl top "+what, func() error {
			out, err := c.Kubectl("top", what)
			if err != nil || !regexp.MustCompile(want).MatchString(out) {
				return but(err, "%q", out)
			}
			return nil
		})
	}
}

// rejection is a pod that somebody bound to the node past the scheduler.
func rejection(t *testing.T, c *Cluster, _ *node.Node) {
	for reason, change := range map[string]func(*v1.PodSpec){
		"OutOfcpu": func(s *v1.PodSpec) {
			s.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: quantity("1000")}
		},
		"NodeAffinity": func(s *v1.PodSpec) { s.NodeSelector = map[string]string{"e2e.edgepod.dev/kind": "second"} },
	} {
		p := sleeper("bound-"+strings.ToLower(reason), "one")
		p.Spec.NodeName = "one"
		change(&p.Spec)
		c.Create(pods, p)
		wait(t, c, p.Name, "rejected", func(p *v1.Pod) bool {
			return p != nil && p.Status.Phase == v1.PodFailed && p.Status.Reason == reason
		})
	}
}

// access are the doors of the node's HTTP API that have to be closed.
func access(t *testing.T, c *Cluster, _ *node.Node) {
	got, err := Get[v1.Node](&c.Client, "/api/v1/nodes/one")
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("https://%s:%d", c.NodeIP, got.Status.DaemonEndpoints.KubeletEndpoint.Port)
	token := strings.TrimSpace(c.MustKubectl("create", "token", "default"))
	for name, want := range map[string]int{"": http.StatusUnauthorized, "nonsense": http.StatusUnauthorized, token: http.StatusForbidden} {
		if code := c.ask(t, url+"/metrics/resource", name); code != want {
			t.Errorf("a caller with the token %.8q got %d, want %d", name, code, want)
		}
	}
	c.Create("/apis/rbac.authorization.k8s.io/v1/clusterroles", object(t,
		`{"metadata":{"name":"e2e-metrics"},"rules":[{"apiGroups":[""],"resources":["nodes/metrics"],"verbs":["get"]}]}`))
	c.Create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", object(t,
		`{"metadata":{"name":"e2e-metrics"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"e2e-metrics"},
		"subjects":[{"kind":"ServiceAccount","name":"metrics","namespace":"default"}]}`))
	c.Create("/api/v1/namespaces/default/serviceaccounts", object(t, `{"metadata":{"name":"metrics"}}`))
	token = strings.TrimSpace(c.MustKubectl("create", "token", "metrics"))
	c.Eventually("the allowed account to be let in", func() error {
		if code := c.ask(t, url+"/metrics/resource", token); code != http.StatusOK {
			return fmt.Errorf("it got %d", code)
		}
		return nil
	})
	if code := c.ask(t, url+"/pods", token); code != http.StatusForbidden {
		t.Errorf("an account that may read metrics got %d for /pods, want 403", code)
	}
}

// heartbeats go on by themselves when the API server comes back; meanwhile files are pods as ever.
func heartbeats(t *testing.T, c *Cluster, n *node.Node) {
	n.Use(t)
	c.Create(pods, sleeper("steady", "one"))
	running(t, c, "steady")
	n.Settle()
	before, first := processes(n), lease(t, c, "one")
	c.StopAPIServer()
	defer func() {
		if t.Failed() {
			c.StartAPIServer() // for the parts after this
		}
	}()
	n.Apply(node.Pod("meanwhile", node.Sleep))
	n.WaitRunning("meanwhile")
	time.Sleep(3 * time.Second) // longer than the node's interval: it has met the closed door
	c.StartAPIServer()
	running(t, c, "meanwhile-one")
	c.Eventually("the lease to be renewed", func() error {
		if now := lease(t, c, "one"); !now.Spec.RenewTime.After(first.Spec.RenewTime.Time) || age(*now.Spec.RenewTime) > 12*time.Second {
			return fmt.Errorf("it was at %v", now.Spec.RenewTime)
		}
		return nil
	})
	ready(t, c, "one")
	n.Delete("meanwhile")
	gone(t, c, "meanwhile-one")
	n.Settle()
	if now := processes(n); now != before {
		t.Errorf("the API server's absence changed the pods\nbefore: %s\nafter:  %s", before, now)
	}
}

// drain empties the node of what can live elsewhere.
func drain(t *testing.T, c *Cluster, n *node.Node) {
	n.Use(t)
	n.Apply(node.Pod("file", node.Sleep))
	running(t, c, "file-one")
	if out, err := c.Kubectl("drain", "one", "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=40s"); err != nil {
		t.Fatalf("kubectl drain: %v: %s", err, out)
	}
	left, err := podsOn(c, "one")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range left {
		if owned := len(p.OwnerReferences) == 1 && p.OwnerReferences[0].Kind == "DaemonSet"; !owned && !mirror(&p) && p.Status.Phase != v1.PodFailed {
			t.Errorf("drain left %s: %s", p.Name, node.Describe(&p))
		}
	}
	running(t, c, "file-one")
	n.Delete("file")
	gone(t, c, "file-one")
	c.Patch("/api/v1/nodes/one", `{"spec":{"unschedulable":null}}`)
	c.Delete("/apis/apps/v1/namespaces/default/daemonsets/daemon", "propagationPolicy=Background")
}
