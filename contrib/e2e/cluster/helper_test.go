package cluster

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

const pods = "/api/v1/namespaces/default/pods"

// member makes a node of the cluster, named as its host name is to be, with certificates of the cluster's authority. Its
// agent is not started yet. When the test ends its pods are deleted through the API server and the Node object goes.
func member(t *testing.T, c *Cluster, name string, engine node.Engine, args ...string) *node.Node {
	t.Helper()
	id := Identity{File: name, Name: "system:node:" + name, Groups: []string{"system:nodes"}}
	if _, _, err := c.ca.Issue(id); err != nil {
		t.Fatalf("issuing a certificate for node %s: %v", name, err)
	}
	id.File, id.Server, id.IPs, id.DNS = name+"-serving", true, []net.IP{net.ParseIP(c.NodeIP)}, []string{name}
	cert, key, err := c.ca.Issue(id)
	if err != nil {
		t.Fatalf("issuing a serving certificate for node %s: %v", name, err)
	}
	if err := c.kubeconfig(c.kubeconfigFile(name), name); err != nil {
		t.Fatalf("writing the kubeconfig of node %s: %v", name, err)
	}
	return bare(t, c, name, engine, append([]string{
		"--kubeconfig", c.kubeconfigFile(name), "--tls-cert-file", cert, "--tls-private-key-file", key,
	}, args...)...)
}

// bare is member without certificates.
func bare(t *testing.T, c *Cluster, name string, engine node.Engine, args ...string) *node.Node {
	t.Helper()
	n := node.New(t, node.Options{
		Engine: engine, Bin: built.agent, Archives: []string{built.busybox},
		Args: append([]string{
			"--hostname-override", name, "--node-ip", c.NodeIP, "--address", c.NodeIP, "--port", fmt.Sprint(node.FreePort(t)),
			"--client-ca-file", c.ca.file("ca.crt"), "--authentication-token-webhook", "--authorization-mode", "Webhook",
			"--node-status-update-frequency", "2s",
		}, args...),
	})
	t.Cleanup(func() {
		if t.Failed() {
			for _, what := range []string{"pods", "events"} {
				out, _ := c.Kubectl("get", what, "-A", "-o", "wide")
				t.Logf("%s", out)
			}
			return
		}
		evict(t, c, name)
		c.Delete("/api/v1/nodes/"+name, "")
	})
	return n
}

// evict deletes every pod bound to a node through the API server and waits until they are gone. Mirror pods stay.
func evict(t *testing.T, c *Cluster, name string) {
	t.Helper()
	c.Eventually("the pods of node "+name+" to go", func() error {
		list, err := podsOn(c, name)
		if err != nil {
			return err
		}
		var left []string
		for _, p := range list {
			if mirror(&p) {
				continue
			}
			left = append(left, node.Describe(&p))
			if p.DeletionTimestamp == nil {
				if err := c.Do(http.MethodDelete, podPath(&p)+"?gracePeriodSeconds=1", nil, nil); err != nil && !IsCode(err, http.StatusNotFound) {
					return err
				}
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left: %q", left)
		}
		return nil
	})
}

func podPath(p *v1.Pod) string { return "/api/v1/namespaces/" + p.Namespace + "/pods/" + p.Name }

func mirror(p *v1.Pod) bool { return p.Annotations["kubernetes.io/config.mirror"] != "" }

func podsOn(c *Cluster, name string) ([]v1.Pod, error) {
	l, err := Get[v1.PodList](&c.Client, "/api/v1/pods?fieldSelector=spec.nodeName%3D"+name)
	return l.Items, err
}

// ready waits until a Node is Ready and returns it.
func ready(t *testing.T, c *Cluster, name string) v1.Node {
	t.Helper()
	var n v1.Node
	c.Eventually("node "+name+" to be Ready", func() (err error) {
		if n, err = Get[v1.Node](&c.Client, "/api/v1/nodes/"+name); err != nil {
			return err
		}
		if s := condition(&n, v1.NodeReady); s.Status != v1.ConditionTrue {
			return fmt.Errorf("it is %+v", s)
		}
		return nil
	})
	return n
}

func condition(n *v1.Node, kind v1.NodeConditionType) v1.NodeCondition {
	for _, s := range n.Status.Conditions {
		if s.Type == kind {
			return s
		}
	}
	return v1.NodeCondition{}
}

// sleeper is a pod for one node that lives until it is told to end.
func sleeper(name, on string) *v1.Pod {
	p := node.Pod(name, node.Sleep)
	pin(&p.Spec, on)
	return p
}

// pin lets the scheduler put a pod onto one node only.
func pin(s *v1.PodSpec, on string) {
	s.NodeSelector = map[string]string{v1.LabelHostname: on}
	s.AutomountServiceAccountToken = new(bool)
}

// wait waits until a pod of the namespace default fulfils ok and returns it; ok gets nil for one that does not exist.
func wait(t *testing.T, c *Cluster, name, what string, ok func(*v1.Pod) bool) *v1.Pod {
	t.Helper()
	var p *v1.Pod
	c.Eventually("pod "+name+" "+what, func() error {
		got, err := Get[v1.Pod](&c.Client, pods+"/"+name)
		switch {
		case IsCode(err, http.StatusNotFound):
			p = nil
		case err != nil:
			return err
		default:
			p = &got
		}
		if !ok(p) {
			return fmt.Errorf("it is %s", node.Describe(p))
		}
		return nil
	})
	return p
}

func running(t *testing.T, c *Cluster, name string) *v1.Pod {
	t.Helper()
	return wait(t, c, name, "running", node.Ready)
}

func gone(t *testing.T, c *Cluster, name string) {
	t.Helper()
	wait(t, c, name, "gone", func(p *v1.Pod) bool { return p == nil })
}

// said waits until kubectl exec of a command gives a text that contains want.
func said(t *testing.T, c *Cluster, pod, want string, command ...string) {
	t.Helper()
	c.Eventually(fmt.Sprintf("%q in %s to say %q", command, pod, want), func() error {
		out, err := c.Kubectl(append([]string{"exec", pod, "--"}, command...)...)
		if err != nil || !strings.Contains(out, want) {
			return but(err, "%q", out)
		}
		return nil
	})
}

// object is an object of any kind, as a test writes it: its JSON is sent as it is.
func object(t *testing.T, text string, args ...any) json.RawMessage {
	t.Helper()
	b := json.RawMessage(fmt.Sprintf(text, args...))
	if !json.Valid(b) {
		t.Fatalf("not JSON: %s", b)
	}
	return b
}

// processes are the identities of the processes of a node's pods, without the pauses.
func processes(n *node.Node) string { return strings.Join(node.Identity(n.Apps()), "\n") }

func age(from metav1.MicroTime) time.Duration { return time.Since(from.Time) }

func scratch(c *Cluster, name string) string { return filepath.Join(c.Dir, name) }

// withSecret mounts a Secret at /s.
func withSecret(p *v1.Pod, name string) {
	p.Spec.Volumes = []v1.Volume{{Name: "s", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: name}}}}
	p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "s", MountPath: "/s"}}
}

// but is err, or else what was seen in place of what was hoped for.
func but(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}
