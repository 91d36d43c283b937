package ctl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

func (d *description) containers(title string, specs []v1.Container, statuses []v1.ContainerStatus) {
	if len(specs) == 0 {
		return
	}
	d.line(0, "%s:", title)
	for i := range specs {
		c := &specs[i]
		d.line(1, "%s:", c.Name)
		status := v1.ContainerStatus{}
		if i := slices.IndexFunc(statuses, func(s v1.ContainerStatus) bool { return s.Name == c.Name }); i >= 0 {
			status = statuses[i]
		}
		d.container(c, &status)
	}
}

func (d *description) container(c *v1.Container, s *v1.ContainerStatus) {
	d.line(2, "Container ID:\t%s", s.ContainerID)
	d.line(2, "Image:\t%s", c.Image)
	d.line(2, "Image ID:\t%s", s.ImageID)
	var ports, hostPorts []string
	for _, p := range c.Ports {
		ports = append(ports, fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol))
		hostPorts = append(hostPorts, fmt.Sprintf("%d/%s", p.HostPort, p.Protocol))
	}
	d.line(2, "Ports:\t%s", orNone(strings.Join(ports, ", ")))
	d.line(2, "Host Ports:\t%s", orNone(strings.Join(hostPorts, ", ")))
	d.block("Command", c.Command)
	d.block("Args", c.Args)
	d.state("State", s.State)
	if s.LastTerminationState.Terminated != nil {
		d.state("Last State", s.LastTerminationState)
	}
	ready := "False"
	if s.Ready {
		ready = "True"
	}
	d.line(2, "Ready:\t%s", ready)
	d.line(2, "Restart Count:\t%d", s.RestartCount)
	d.resources("Limits", c.Resources.Limits)
	d.resources("Requests", c.Resources.Requests)
	d.environment(c.Env)
	d.mounts(c.VolumeMounts)
}

// block writes words below each other, as kubectl does with commands; nothing when there are none.
func (d *description) block(title string, words []string) {
	if len(words) == 0 {
		return
	}
	d.line(2, "%s:", title)
	for _, w := range words {
		for line := range strings.Lines(w) {
			d.line(3, "%s", strings.TrimRight(line, "\n"))
		}
	}
}

func (d *description) state(title string, s v1.ContainerState) {
	switch {
	case s.Running != nil:
		d.line(2, "%s:\tRunning", title)
		d.line(3, "Started:\t%s", clock(s.Running.StartedAt))
	case s.Terminated != nil:
		t := s.Terminated
		d.line(2, "%s:\tTerminated", title)
		if t.Reason != "" {
			d.line(3, "Reason:\t%s", t.Reason)
		}
		if t.Message != "" {
			d.line(3, "Message:\t%s", oneLine(t.Message))
		}
		d.line(3, "Exit Code:\t%d", t.ExitCode)
		if t.Signal > 0 {
			d.line(3, "Signal:\t%d", t.Signal)
		}
		d.line(3, "Started:\t%s", clock(t.StartedAt))
		d.line(3, "Finished:\t%s", clock(t.FinishedAt))
	default:
		d.line(2, "%s:\tWaiting", title)
		if s.Waiting != nil && s.Waiting.Reason != "" {
			d.line(3, "Reason:\t%s", s.Waiting.Reason)
		}
		if s.Waiting != nil && s.Waiting.Message != "" {
			d.line(3, "Message:\t%s", oneLine(s.Waiting.Message))
		}
	}
}

func (d *description) resources(title string, list v1.ResourceList) {
	if len(list) == 0 {
		return
	}
	d.line(2, "%s:", title)
	for _, name := range slices.Sorted(maps.Keys(list)) {
		quantity := list[name]
		d.line(3, "%s:\t%s", name, quantity.String())
	}
}

func (d *description) environment(env []v1.EnvVar) {
	if len(env) == 0 {
		d.line(2, "Environment:\t<none>")
		return
	}
	d.line(2, "Environment:")
	for _, e := range env {
		value := oneLine(e.Value)
		if e.ValueFrom != nil {
			value = "<set from elsewhere>" // never a secret's value
		}
		d.line(3, "%s:\t%s", e.Name, value)
	}
}

func (d *description) mounts(list []v1.VolumeMount) {
	if len(list) == 0 {
		d.line(2, "Mounts:\t<none>")
		return
	}
	d.line(2, "Mounts:")
	for _, m := range list {
		how := "rw"
		if m.ReadOnly {
			how = "ro"
		}
		if m.SubPath != "" {
			how += fmt.Sprintf(",path=%q", m.SubPath)
		}
		d.line(3, "%s from %s (%s)", m.MountPath, m.Name, how)
	}
}

func (d *description) volumes(list []v1.Volume) {
	if len(list) == 0 {
		d.line(0, "Volumes:\t<none>")
		return
	}
	d.line(0, "Volumes:")
	for _, v := range list {
		d.line(1, "%s:", v.Name)
		switch {
		case v.EmptyDir != nil:
			d.line(2, "Type:\tEmptyDir (a temporary directory that shares a pod's lifetime)")
			d.line(2, "Medium:\t%s", v.EmptyDir.Medium)
			limit := "<unset>"
			if v.EmptyDir.SizeLimit != nil {
				limit = v.EmptyDir.SizeLimit.String()
			}
			d.line(2, "SizeLimit:\t%s", limit)
		case v.HostPath != nil:
			kind := ""
			if v.HostPath.Type != nil {
				kind = string(*v.HostPath.Type)
			}
			d.line(2, "Type:\tHostPath (bare host directory volume)")
			d.line(2, "Path:\t%s", v.HostPath.Path)
			d.line(2, "HostPathType:\t%s", kind)
		case v.ConfigMap != nil:
			d.line(2, "Type:\tConfigMap (a volume populated by a ConfigMap)")
			d.line(2, "Name:\t%s", v.ConfigMap.Name)
		case v.Secret != nil:
			d.line(2, "Type:\tSecret (a volume populated by a Secret)")
			d.line(2, "SecretName:\t%s", v.Secret.SecretName)
		default:
			d.line(2, "Type:\tsee agent get pod -o yaml")
		}
	}
}
