package ctl

import (
	"fmt"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podRow is what kubectl's table shows of a pod.
type podRow struct {
	ready, total int
	status       string
	restarts     int
	lastRestart  metav1.Time
}

// rowOf computes a row as printPod of k8s.io/kubernetes pkg/printers/internalversion does.
func rowOf(p *v1.Pod) podRow {
	r := podRow{total: len(p.Spec.Containers), status: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		r.status = p.Status.Reason
	}
	initializing := r.initContainers(p)
	if !initializing || conditionTrue(p, v1.PodInitialized) {
		r.containers(p)
	}
	terminal := p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed
	if p.DeletionTimestamp != nil && !terminal {
		r.status = "Terminating"
	}
	return r
}

// initContainers counts init containers and says whether they are still at work. Of the restarts, those of sidecars stay
// when they are done.
func (r *podRow) initContainers(p *v1.Pod) bool {
	sidecar := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			sidecar[c.Name] = true
			r.total++
		}
	}
	all, side := podRow{}, podRow{}
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		all.restarted(c)
		if sidecar[c.Name] {
			side.restarted(c)
		}
		t := c.State.Terminated
		switch {
		case t != nil && t.ExitCode == 0:
			continue
		case sidecar[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				r.ready++
			}
			continue
		case t != nil:
			r.status = "Init:" + endReason(t)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			r.status = "Init:" + c.State.Waiting.Reason
		default:
			r.status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		r.restarts, r.lastRestart = all.restarts, all.lastRestart
		if conditionTrue(p, v1.PodInitialized) {
			r.restarts, r.lastRestart = side.restarts, side.lastRestart
		}
		return true
	}
	r.restarts, r.lastRestart = side.restarts, side.lastRestart
	return false
}

func (r *podRow) containers(p *v1.Pod) {
	running, failed := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		r.restarted(c)
		switch t := c.State.Terminated; {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			r.status = c.State.Waiting.Reason
		case t != nil:
			r.status = endReason(t)
			if t.ExitCode != 0 {
				failed = r.status
			}
		case c.Ready && c.State.Running != nil:
			running = true
			r.ready++
		}
	}
	if r.status != "Completed" {
		return
	}
	switch {
	case running && conditionTrue(p, v1.PodReady):
		r.status = "Running"
	case failed != "":
		r.status = failed
	case running:
		r.status = "NotReady"
	}
}

func (r *podRow) restarted(c *v1.ContainerStatus) {
	r.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && r.lastRestart.Before(&t.FinishedAt) {
		r.lastRestart = t.FinishedAt
	}
}

// endReason is how kubectl says in a word why a container ended.
func endReason(t *v1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

func conditionTrue(p *v1.Pod, kind v1.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

// podHeader are the names of podCells.
func podHeader(o GetOptions) []string {
	h := []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE"}
	if o.AllNamespaces {
		h = append([]string{"NAMESPACE"}, h...)
	}
	if o.Output == "wide" {
		h = append(h, "IP", "NODE")
	}
	return h
}

// podCells is one row of the table.
func podCells(p *v1.Pod, o GetOptions, now time.Time) []string {
	r := rowOf(p)
	restarts := strconv.Itoa(r.restarts)
	if r.restarts != 0 && !r.lastRestart.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", r.restarts, age(now, r.lastRestart))
	}
	cells := []string{p.Name, fmt.Sprintf("%d/%d", r.ready, r.total), r.status, restarts, age(now, p.CreationTimestamp)}
	if o.AllNamespaces {
		cells = append([]string{p.Namespace}, cells...)
	}
	if o.Output == "wide" {
		ip := ""
		if len(p.Status.PodIPs) > 0 {
			ip = p.Status.PodIPs[0].IP
		}
		cells = append(cells, orNone(ip), orNone(p.Spec.NodeName))
	}
	return cells
}
