package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// get asks a URL once, with a new connection.
func get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

// web is a pod with the demo web server on a port of the host.
func web(name, greeting string, hostPort int) *v1.Pod {
	p := node.Pod(name, "")
	p.Spec.Containers[0] = v1.Container{
		Name: "app", Image: "edgepod.dev/demo:1", Env: []v1.EnvVar{{Name: "GREETING", Value: greeting}},
		Ports: []v1.ContainerPort{{ContainerPort: 8080, HostPort: int32(hostPort)}},
	}
	return p
}

func answers(n *node.Node, url, want string) {
	n.Eventually(url+" to say "+want, func() string {
		got, err := get(url)
		switch {
		case err != nil:
			return err.Error()
		case !strings.HasPrefix(got, want):
			return got
		}
		return ""
	})
}

func TestWebPodAnswersOnItsAddressAndTheHostPort(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.DropImage(built.demo)
		n.Start()
		port := node.FreePort(t)
		n.Apply(web("web", "hello", port))
		url := fmt.Sprintf("http://127.0.0.1:%d/", port)
		answers(n, url, "hello from web")
		p := n.WaitRunning("web")
		if !strings.HasPrefix(p.Status.PodIP, n.Subnet) {
			t.Errorf("the pod's address is %q, want one in %s", p.Status.PodIP, n.CIDR)
		}
		answers(n, "http://"+p.Status.PodIP+":8080/", "hello from web")
		// Pods reach each other.
		peer, said := report(t, n, "peer", "wget -q -O - http://"+p.Status.PodIP+":8080/")
		_ = peer
		if got := said(); !strings.HasPrefix(got, "hello from web") {
			t.Errorf("another pod got %q", got)
		}
		// An edit: the new pod takes over the port from the old one.
		n.Apply(web("web", "good day", port))
		answers(n, url, "good day from web")
		n.Delete("web")
		n.Eventually("the port to close", func() string {
			if got, err := get(url); err == nil {
				return "it still answers " + got
			}
			return ""
		})
	})
}

func TestAddressesAreUsedAgainAndNeverTwice(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		seen := map[string]string{}
		names := []string{"a", "b", "c", "d"}
		for _, name := range names {
			n.Apply(node.Pod(name, node.Sleep))
		}
		for _, name := range names {
			ip := n.WaitRunning(name).Status.PodIP
			if other, taken := seen[ip]; taken || ip == "" {
				t.Errorf("pod %s has the address %q, as has pod %q", name, ip, other)
			}
			seen[ip] = name
		}
	})
}
