package ctl

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// listed is one object of a list that is printed as a table.
type listed struct {
	meta   *metav1.ObjectMeta
	object any
	cells  []string // behind name and before age
	wide   []string // behind age
}

// GetNode prints the node as `kubectl get nodes` does.
func GetNode(ctx context.Context, c *Client, s Streams, o GetOptions) error {
	var n v1.Node
	if err := o.plain(); err != nil {
		return err
	}
	if err := c.get(ctx, "/node", nil, &n); err != nil {
		return err
	}
	if len(o.Names) > 0 && !slices.Contains(o.Names, n.Name) {
		return notFound("nodes", o.Names[0])
	}
	status := "NotReady"
	for _, cond := range n.Status.Conditions {
		if cond.Type == v1.NodeReady && cond.Status == v1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	ip := ""
	for _, a := range n.Status.Addresses {
		if a.Type == v1.NodeInternalIP && ip == "" {
			ip = a.Address
		}
	}
	info := n.Status.NodeInfo
	one := listed{&n.ObjectMeta, &n, []string{status}, []string{info.KubeletVersion, orNone(ip), info.OSImage, info.KernelVersion, info.ContainerRuntimeVersion}}
	if o.Output != "wide" {
		one.wide = one.wide[:1]
	}
	o.AllNamespaces = false // a node has none
	head := []string{"NAME", "STATUS", "AGE", "VERSION", "INTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"}
	return o.printList(c, s, "node", head[:3+len(one.wide)], &n, []listed{one})
}

// GetConfigMaps prints the ConfigMaps of the manifests as `kubectl get configmaps` does.
func GetConfigMaps(ctx context.Context, c *Client, s Streams, o GetOptions) error {
	var list v1.ConfigMapList
	if err := o.plain(); err != nil {
		return err
	}
	if err := c.get(ctx, "/configmaps", nil, &list); err != nil {
		return err
	}
	list.Items = slices.DeleteFunc(list.Items, func(m v1.ConfigMap) bool { return !o.wants(&m.ObjectMeta) })
	var rows []listed
	for i := range list.Items {
		m := &list.Items[i]
		rows = append(rows, listed{&m.ObjectMeta, m, []string{strconv.Itoa(len(m.Data) + len(m.BinaryData))}, nil})
	}
	return o.printList(c, s, "configmap", []string{"NAME", "DATA", "AGE"}, &list, rows)
}

// GetSecrets prints the Secrets of the manifests as `kubectl get secrets` does; the agent never tells their values.
func GetSecrets(ctx context.Context, c *Client, s Streams, o GetOptions) error {
	var list v1.SecretList
	if err := o.plain(); err != nil {
		return err
	}
	if err := c.get(ctx, "/secrets", nil, &list); err != nil {
		return err
	}
	list.Items = slices.DeleteFunc(list.Items, func(m v1.Secret) bool { return !o.wants(&m.ObjectMeta) })
	var rows []listed
	for i := range list.Items {
		m := &list.Items[i]
		rows = append(rows, listed{&m.ObjectMeta, m, []string{string(m.Type), strconv.Itoa(len(m.Data))}, nil})
	}
	return o.printList(c, s, "secret", []string{"NAME", "TYPE", "DATA", "AGE"}, &list, rows)
}

// plain completes o for a kind that cannot be watched.
func (o *GetOptions) plain() error {
	if o.Watch {
		return UsageError("only pods and events can be watched")
	}
	_, err := o.check()
	return err
}

// wants says whether an object is asked for.
func (o *GetOptions) wants(m *metav1.ObjectMeta) bool {
	return (o.AllNamespaces || m.Namespace == o.Namespace) && (len(o.Names) == 0 || slices.Contains(o.Names, m.Name))
}

// printList prints rows as a table or by name, or the list, or the one object asked for by name, as data.
func (o *GetOptions) printList(c *Client, s Streams, kind string, head []string, list any, rows []listed) error {
	for _, name := range o.Names {
		if !slices.ContainsFunc(rows, func(r listed) bool { return r.meta.Name == name }) {
			return notFound(kind+"s", name)
		}
	}
	if o.structured() {
		if len(o.Names) == 1 && len(rows) == 1 {
			list = rows[0].object
		}
		return printObject(s.Out, o.Output, list)
	}
	if len(rows) == 0 {
		o.sayNone(s.Err, 0)
		return nil
	}
	t := table{}
	if o.AllNamespaces {
		head = append([]string{"NAMESPACE"}, head...)
	}
	if !o.NoHeaders && o.Output != "name" {
		t.add(head...)
	}
	for _, r := range rows {
		if o.Output == "name" {
			fmt.Fprintf(s.Out, "%s/%s\n", kind, r.meta.Name)
			continue
		}
		cells := slices.Concat([]string{r.meta.Name}, r.cells, []string{age(c.now(), r.meta.CreationTimestamp)}, r.wide)
		if o.AllNamespaces {
			cells = append([]string{r.meta.Namespace}, cells...)
		}
		t.add(cells...)
	}
	return t.flush(s.Out)
}
