package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// offline is a node that loses its link, then its power, and comes back up with no API server to ask.
func offline(t *testing.T, c *Cluster, _ *node.Node) {
	n := member(t, c, "three", node.Embedded)
	n.Start()
	ready(t, c, "three")
	c.Create("/api/v1/namespaces/default/secrets", object(t, `{"metadata":{"name":"kept"},"stringData":{"word":"remembered"}}`))
	p := sleeper("edge", "three")
	p.Spec.Containers[0].Command = []string{"sh", "-c", "trap 'exit 0' TERM; cp /s/word /tmp/word; " + node.Sleep}
	withSecret(p, "kept")
	c.Create(pods, p)
	first := running(t, c, "edge")
	n.Apply(node.Pod("box", node.Sleep))
	running(t, c, "box-three")

	c.StopAPIServer()
	n.Reboot()
	n.Start()
	n.Eventually("both pods to run again without the API server", func() string {
		list, err := n.List()
		if err != nil {
			return err.Error()
		}
		up := 0
		for i := range list {
			if node.Ready(&list[i]) {
				up++
			}
		}
		if up != 2 {
			return fmt.Sprintf("%d of %d run", up, len(list))
		}
		return ""
	})
	n.Settle()
	before := processes(n)
	c.StartAPIServer()
	again := wait(t, c, "edge", "reported after the link is back", func(p *v1.Pod) bool {
		return node.Ready(p) && node.Container(p, "app").RestartCount == 1
	})
	if again.UID != first.UID {
		t.Error("the pod is another one")
	}
	said(t, c, "edge", "remembered", "cat", "/tmp/word")
	ready(t, c, "three")
	running(t, c, "box-three")
	n.Settle()
	if now := processes(n); now != before {
		t.Errorf("coming back online changed the pods\nbefore: %s\nafter:  %s", before, now)
	}
	c.Eventually("an event of the reboot", func() error {
		out, err := c.Kubectl("get", "events", "--field-selector", "reason=Rebooted,involvedObject.name=three")
		if err != nil || !strings.Contains(out, "Rebooted") {
			return but(err, "%s", out)
		}
		return nil
	})

	// What was deleted while the node was away goes when it is back.
	n.Stop()
	if err := c.Do(http.MethodDelete, pods+"/edge?gracePeriodSeconds=1", nil, nil); err != nil {
		t.Fatal(err)
	}
	n.Start()
	gone(t, c, "edge")
	n.Delete("box")
	gone(t, c, "box-three")
}
