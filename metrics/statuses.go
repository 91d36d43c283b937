package metrics

import (
	"strings"

	v1 "k8s.io/api/core/v1"
)

// containerKind is the kubelet's container_type label.
type containerKind string

const (
	kindRegular   containerKind = "container"
	kindInit      containerKind = "init_container"
	kindEphemeral containerKind = "ephemeral_container"
)

// eachContainer calls f for the status of every container of the pod.
func eachContainer(s *v1.PodStatus, f func(kind containerKind, c *v1.ContainerStatus)) {
	if s == nil {
		return
	}
	for i := range s.InitContainerStatuses {
		f(kindInit, &s.InitContainerStatuses[i])
	}
	for i := range s.ContainerStatuses {
		f(kindRegular, &s.ContainerStatuses[i])
	}
	for i := range s.EphemeralContainerStatuses {
		f(kindEphemeral, &s.EphemeralContainerStatuses[i])
	}
}

// bareID takes the "containerd://" off a container ID of a status.
func bareID(id string) string {
	if _, after, found := strings.Cut(id, "://"); found {
		return after
	}
	return id
}

// oomKilled are the IDs of ended containers that were OOM killed, by pod UID; every pod has an entry.
func oomKilled(pods []Pod) map[string][]string {
	out := make(map[string][]string, len(pods))
	for i := range pods {
		uid := pods[i].uid()
		if uid == "" {
			continue
		}
		ids := []string{}
		eachContainer(pods[i].Status, func(_ containerKind, c *v1.ContainerStatus) {
			for _, t := range []*v1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
				if t != nil && t.Reason == "OOMKilled" && t.ContainerID != "" {
					ids = append(ids, bareID(t.ContainerID))
				}
			}
		})
		out[uid] = ids
	}
	return out
}
