package manifests

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	podfields "k8s.io/kubernetes/pkg/apis/core/pods"
	"k8s.io/kubernetes/pkg/fieldpath"
)

// Facts is what only the node knows of a pod when one of its containers starts.
type Facts struct {
	// PodIPs and HostIPs begin with the address of the family that the node prefers.
	PodIPs  []string
	HostIPs []string
	// Allocatable stands for limits that a container does not have: cpu, memory and ephemeral-storage.
	Allocatable v1.ResourceList
	// ReadVolumeFile reads a file of a volume of the pod, resolved inside the volume; for env.valueFrom.fileKeyRef. It
	// returns fs.ErrNotExist when there is none.
	ReadVolumeFile func(volume, path string) ([]byte, error)
}

// fieldValue is the value of a fieldRef in an environment variable (kubelet: podFieldSelectorRuntimeValue).
func fieldValue(p *v1.Pod, ref *v1.ObjectFieldSelector, f Facts) (string, error) {
	version := ref.APIVersion
	if version == "" {
		version = "v1"
	}
	path, _, err := podfields.ConvertDownwardAPIFieldLabel(version, ref.FieldPath, "")
	if err != nil {
		return "", err
	}
	switch path {
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return firstOf(f.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(f.HostIPs, ","), nil
	case "status.podIP":
		return firstOf(f.PodIPs), nil
	case "status.podIPs":
		return strings.Join(f.PodIPs, ","), nil
	}
	return fieldpath.ExtractFieldPathAsString(p, path)
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// resourceValue is the value of a resourceFieldRef; c is the container that asks, nil in a volume. A limit that is not set
// is the pod's, else the node's (kubelet: defaultPodLimitsForDownwardAPI).
func resourceValue(p *v1.Pod, c *v1.Container, ref *v1.ResourceFieldSelector, f Facts) (string, error) {
	if ref.ContainerName != "" {
		if c = containerOf(p, ref.ContainerName); c == nil {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
	}
	if c == nil {
		return "", fmt.Errorf("resource %s names no container", ref.Resource)
	}
	allocatable := f.Allocatable
	if r := p.Spec.Resources; r != nil && len(r.Limits) > 0 {
		allocatable = allocatable.DeepCopy()
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			limit, ok := r.Limits[name]
			if _, known := allocatable[name]; ok && known && !limit.IsZero() {
				allocatable[name] = limit
			}
		}
	}
	c = c.DeepCopy()
	resource.MergeContainerResourceLimits(c, allocatable)
	return resource.ExtractContainerResourceValue(ref, c)
}

func containerOf(p *v1.Pod, name string) *v1.Container {
	for _, c := range Containers(p) {
		if c.Name == name {
			return c
		}
	}
	return nil
}
