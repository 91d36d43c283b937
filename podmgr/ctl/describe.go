package ctl

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DescribePod prints everything about one pod: as `kubectl describe pod`, and with it the place of its manifest and what
// is wrong there. A pod that exists only as a problem is described by that.
func DescribePod(ctx context.Context, c *Client, s Streams, namespace, name string) error {
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	all, err := c.Problems(ctx)
	if err != nil {
		return err
	}
	p, err := c.pod(ctx, namespace, name)
	problems := problemsOf(all, namespace, name, p)
	if err != nil {
		if len(problems) > 0 {
			d := newDescription(s.Out, c.now())
			d.line(0, "Name:\t%s", name)
			d.line(0, "Namespace:\t%s", namespace)
			d.line(0, "Status:\tnot running, because of its manifest")
			d.problems(problems, false)
			if ferr := d.w.Flush(); ferr != nil {
				return ferr
			}
		}
		return err
	}
	events, err := c.Events(ctx, namespace, name)
	if err != nil {
		return err
	}
	d := newDescription(s.Out, c.now())
	d.head(p)
	d.problems(problems, true)
	d.containers("Init Containers", p.Spec.InitContainers, p.Status.InitContainerStatuses)
	d.containers("Containers", p.Spec.Containers, p.Status.ContainerStatuses)
	var debug []v1.Container
	for i := range p.Spec.EphemeralContainers {
		debug = append(debug, v1.Container(p.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	d.containers("Ephemeral Containers", debug, p.Status.EphemeralContainerStatuses)
	d.conditions(p.Status.Conditions)
	d.volumes(p.Spec.Volumes)
	d.line(0, "QoS Class:\t%s", orNone(string(p.Status.QOSClass)))
	d.events(events.Items)
	return d.w.Flush()
}

// problemsOf are the problems that are about the pod, or about the file it was read from as a whole.
func problemsOf(all []Problem, namespace, name string, p *v1.Pod) []Problem {
	return slices.DeleteFunc(slices.Clone(all), func(b Problem) bool {
		if b.Name != "" {
			return b.Namespace != namespace || b.Name != name
		}
		return p == nil || b.File == "" || !within(p.Annotations[fileAnnotation], b.File)
	})
}

// within says whether origin, "file", "file:line" or "file:line (document n)", is in file.
func within(origin, file string) bool {
	rest, ok := strings.CutPrefix(origin, file)
	return ok && (rest == "" || rest[0] == ':' || rest[0] == ' ')
}

// description writes aligned "Name:  value" lines.
type description struct {
	w   *tabwriter.Writer
	now time.Time
}

func newDescription(w io.Writer, now time.Time) *description {
	return &description{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0), now: now}
}

func (d *description) line(depth int, format string, args ...any) {
	fmt.Fprintf(d.w, strings.Repeat("  ", depth)+format+"\n", args...)
}

// list writes a multi-valued field, its values below each other.
func (d *description) list(name string, values []string) {
	if len(values) == 0 {
		d.line(0, "%s:\t<none>", name)
	}
	for i, v := range values {
		if i == 0 {
			d.line(0, "%s:\t%s", name, v)
		} else {
			d.line(0, "\t%s", v)
		}
	}
}

func pairs(m map[string]string, between string) (out []string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+between+m[k])
	}
	return out
}

// clock is a time as kubectl describes it.
func clock(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return t.Format(time.RFC1123Z)
}

func (d *description) head(p *v1.Pod) {
	d.line(0, "Name:\t%s", p.Name)
	d.line(0, "Namespace:\t%s", p.Namespace)
	node := orNone(p.Spec.NodeName)
	if p.Status.HostIP != "" {
		node += "/" + p.Status.HostIP
	}
	d.line(0, "Node:\t%s", node)
	if p.Status.StartTime != nil {
		d.line(0, "Start Time:\t%s", clock(*p.Status.StartTime))
	}
	annotations := maps.Clone(p.Annotations)
	file, source := annotations[fileAnnotation], annotations[sourceAnnotation]
	delete(annotations, fileAnnotation)
	delete(annotations, sourceAnnotation)
	d.line(0, "Manifest:\t%s", orNone(file))
	d.line(0, "Source:\t%s", orNone(source))
	d.list("Labels", pairs(p.Labels, "="))
	d.list("Annotations", pairs(annotations, ": "))
	status := rowOf(p).status
	switch {
	case p.DeletionTimestamp != nil:
		d.line(0, "Status:\tTerminating (lasts %s)", age(d.now, *p.DeletionTimestamp))
		if p.DeletionGracePeriodSeconds != nil {
			d.line(0, "Termination Grace Period:\t%ds", *p.DeletionGracePeriodSeconds)
		}
	case status == string(p.Status.Phase):
		d.line(0, "Status:\t%s", status)
	default:
		d.line(0, "Status:\t%s (%s)", p.Status.Phase, status)
	}
	if p.Status.Message != "" {
		d.line(0, "Message:\t%s", oneLine(p.Status.Message))
	}
	var ips []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	d.list("IP", ips)
}

// problems writes what is wrong in the manifest where it cannot be overlooked.
func (d *description) problems(list []Problem, running bool) {
	if len(list) == 0 {
		return
	}
	d.line(0, "Manifest Problems:")
	kept := false
	for _, p := range list {
		d.line(1, "! %s", oneLine(p.String()))
		kept = kept || p.Kept
	}
	if kept && running {
		d.line(1, "The last good version is still running.")
	}
}

func (d *description) conditions(list []v1.PodCondition) {
	if len(list) == 0 {
		return
	}
	d.line(0, "Conditions:")
	d.line(1, "Type\tStatus\tReason")
	for _, c := range list {
		d.line(1, "%s\t%s\t%s", c.Type, c.Status, oneLine(strings.TrimSpace(c.Reason+" "+c.Message)))
	}
}

func (d *description) events(list []v1.Event) {
	if len(list) == 0 {
		d.line(0, "Events:\t<none>")
		return
	}
	sortEvents(list)
	d.line(0, "Events:")
	d.line(1, "Type\tReason\tAge\tFrom\tMessage")
	d.line(1, "----\t------\t---\t----\t-------")
	for _, e := range list {
		when := age(d.now, e.LastTimestamp)
		if e.Count > 1 {
			when = fmt.Sprintf("%s (x%d over %s)", when, e.Count, age(d.now, e.FirstTimestamp))
		}
		d.line(1, "%s\t%s\t%s\t%s\t%s", e.Type, e.Reason, when, e.Source.Component, oneLine(e.Message))
	}
}
