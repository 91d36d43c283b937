package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

func TestAHostPortIsWaitedForAndTakenWhenItIsFree(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.DropImage(built.demo)
		n.Start()
		port := node.FreePort(t)
		url := fmt.Sprintf("http://127.0.0.1:%d/", port)
		n.Apply(web("first", "hello", port))
		answers(n, url, "hello from first")
		// The second waits, visibly, also after a restart of the agent, and does not take what is held.
		n.Apply(web("second", "hello", port))
		waits := func() {
			t.Helper()
			want := fmt.Sprintf("host port %d/tcp is held by pod default/first", port)
			n.Eventually("the pod to say what it waits for", func() string {
				p := n.Pod("second")
				if p == nil || p.Status.Phase != v1.PodPending || len(p.Status.ContainerStatuses) != 1 {
					return node.Describe(p)
				}
				if w := p.Status.ContainerStatuses[0].State.Waiting; w == nil || !strings.HasPrefix(w.Message, want) {
					return node.Describe(p)
				}
				if out := n.MustAgent("describe", "pod", "second"); !strings.Contains(out, "HostPortConflict") || !strings.Contains(out, want) {
					return out
				}
				return ""
			})
		}
		waits()
		n.Kill()
		n.Start()
		waits()
		answers(n, url, "hello from first")
		n.Delete("first")
		answers(n, url, "hello from second")
		n.Delete("second")
		// A sidecar's port, on one address; a process of the node on another pod's port is told of.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		taken := l.Addr().(*net.TCPAddr).Port
		p := web("side", "good day", port)
		always := v1.ContainerRestartPolicyAlways
		side := p.Spec.Containers[0]
		side.Name, side.RestartPolicy, side.Ports[0].HostIP = "demo", &always, "127.0.0.1"
		p.Spec.InitContainers = []v1.Container{side}
		p.Spec.Containers = node.Pod("x", node.Sleep).Spec.Containers
		p.Spec.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: 7, HostPort: int32(taken)}}
		n.Apply(p)
		answers(n, url, "good day from side")
		want := fmt.Sprintf("host port %d/tcp is in use by a process of the node: e2e.test", taken)
		if out := n.MustAgent("describe", "pod", "side"); !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	})
}

func TestBothFamiliesBandwidthAndClusterDNS(t *testing.T) {
	n := embeddedOnly(t, "--cluster-dns", "192.0.2.10", "--cluster-domain", "edge.example")
	v6 := fmt.Sprintf("fd00:%s::/64", strings.ReplaceAll(strings.TrimSuffix(n.Subnet, "."), ".", ":"))
	n.Args = append(n.Args, "--pod-cidr", n.CIDR+","+v6)
	n.DropImage(built.demo)
	n.Start()
	server := web("server", "hello", 0)
	n.Apply(server)
	ips := n.WaitRunning("server").Status.PodIPs
	if len(ips) != 2 || !strings.HasPrefix(ips[0].IP, n.Subnet) || !strings.HasPrefix(ips[1].IP, strings.TrimSuffix(v6, ":/64")) {
		t.Fatalf("the pod's addresses are %v, want one in %s and one in %s", ips, n.CIDR, v6)
	}
	answers(n, "http://["+ips[1].IP+"]:8080/", "hello from server")

	p, said := report(t, n, "client", `cat /etc/resolv.conf; hostname; grep client /etc/hosts; wget -q -O - "http://[`+ips[1].IP+`]:8080/"`)
	p.Annotations = map[string]string{"kubernetes.io/egress-bandwidth": "10M", "kubernetes.io/ingress-bandwidth": "20M"}
	yes := true
	p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = "web", &yes
	got := said()
	for _, want := range []string{
		"nameserver 192.0.2.10\n", "search default.svc.edge.example svc.edge.example edge.example", "options ndots:5\n",
		"\nclient.web.default.svc.edge.example\n", "\tclient.web.default.svc.edge.example\tclient\n", "hello from server",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if lines := strings.Count(got, "\tclient.web."); lines != 2 {
		t.Errorf("/etc/hosts has %d lines of the pod, want one for each address:\n%s", lines, got)
	}
	out, err := command("tc", "qdisc", "show")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, rate := range []string{"rate 10Mbit", "rate 20Mbit"} {
		if !strings.Contains(out, rate) {
			t.Errorf("no queue with %s in\n%s", rate, out)
		}
	}
}
