package cluster

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// files are pods as ever, and the API server has a picture of each.
func files(t *testing.T, c *Cluster, n *node.Node) {
	n.Use(t) // alone among the parts that run side by side
	mirrors(t, c, n)
	clash(t, c, n)
}

func mirrors(t *testing.T, c *Cluster, n *node.Node) {
	n.Apply(node.Pod("static", node.Sleep))
	first := running(t, c, "static-one")
	if !mirror(first) || len(first.OwnerReferences) != 1 || first.OwnerReferences[0].Kind != "Node" || first.OwnerReferences[0].Name != "one" {
		t.Errorf("the mirror pod has the annotations %v and the owners %v", first.Annotations, first.OwnerReferences)
	}
	id := node.Container(first, "app").ContainerID
	if out, err := c.Kubectl("exec", "static-one", "--", "hostname"); err != nil || !strings.Contains(out, "static") {
		t.Errorf("exec into the mirror pod gave %q (%v)", out, err)
	}
	c.Delete(pods+"/static-one", "gracePeriodSeconds=0")
	again := wait(t, c, "static-one", "back after its deletion", func(p *v1.Pod) bool { return node.Ready(p) && p.UID != first.UID })
	if node.Container(again, "app").ContainerID != id {
		t.Error("deleting the mirror pod replaced the container")
	}
	changed := node.Pod("static", node.Sleep)
	changed.Spec.Containers[0].Env = []v1.EnvVar{{Name: "CHANGED", Value: "1"}}
	n.Apply(changed)
	wait(t, c, "static-one", "changed with its file", func(p *v1.Pod) bool {
		return node.Ready(p) && p.UID != again.UID && len(p.Spec.Containers[0].Env) == 1 && node.Container(p, "app").ContainerID != id
	})
	n.Delete("static")
	gone(t, c, "static-one")
}

// clash is a pod of the API server bound to the node of a file pod with its name: the file wins, the other is told so, and
// has its turn when the file goes.
func clash(t *testing.T, c *Cluster, n *node.Node) {
	n.Apply(node.Pod("clash", node.Sleep))
	id := node.Container(running(t, c, "clash-one"), "app").ContainerID
	c.Create(pods, sleeper("clash", "one"))
	loser := wait(t, c, "clash", "told that its name is taken", func(p *v1.Pod) bool { return p != nil && p.Status.Reason == "NameClash" })
	if loser.Status.Phase != v1.PodPending || len(loser.Status.ContainerStatuses) != 0 {
		t.Errorf("the API server's pod is %s", node.Describe(loser))
	}
	if file := running(t, c, "clash-one"); node.Container(file, "app").ContainerID != id {
		t.Error("the file's container was replaced")
	}
	if problems := n.Problems(); len(problems) != 1 || problems[0].Field != "metadata.name" {
		t.Errorf("the node's problems are %v", problems)
	}
	n.Delete("clash")
	gone(t, c, "clash-one")
	if now := running(t, c, "clash"); node.Container(now, "app").ContainerID == id {
		t.Error("the API server's pod has the file's container")
	}
}
