package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
)

var (
	logSizeDesc = prometheus.NewDesc("kubelet_container_log_filesystem_used_bytes", "Bytes used by the container's logs on the filesystem.", []string{"uid", "namespace", "pod", "container"}, nil)

	claimCapacityDesc   = prometheus.NewDesc("kubelet_volume_stats_capacity_bytes", "Capacity in bytes of the volume", claimLabels(), nil)
	claimAvailableDesc  = prometheus.NewDesc("kubelet_volume_stats_available_bytes", "Number of available bytes in the volume", claimLabels(), nil)
	claimUsedDesc       = prometheus.NewDesc("kubelet_volume_stats_used_bytes", "Number of used bytes in the volume", claimLabels(), nil)
	claimInodesDesc     = prometheus.NewDesc("kubelet_volume_stats_inodes", "Maximum number of inodes in the volume", claimLabels(), nil)
	claimInodesFreeDesc = prometheus.NewDesc("kubelet_volume_stats_inodes_free", "Number of free inodes in the volume", claimLabels(), nil)
	claimInodesUsedDesc = prometheus.NewDesc("kubelet_volume_stats_inodes_used", "Number of used inodes in the volume", claimLabels(), nil)

	volumeUsedDesc     = prometheus.NewDesc("agent_volume_used_bytes", "Bytes that a pod's volume takes.", volumeLabels(), nil)
	volumeCapacityDesc = prometheus.NewDesc("agent_volume_capacity_bytes", "Bytes of the filesystem that a pod's volume lies on.", volumeLabels(), nil)
)

func claimLabels() []string { return []string{"namespace", "persistentvolumeclaim"} }

func volumeLabels() []string { return []string{"namespace", "pod", "volume"} }

func describeDisk(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		logSizeDesc, claimCapacityDesc, claimAvailableDesc, claimUsedDesc, claimInodesDesc, claimInodesFreeDesc,
		claimInodesUsedDesc, volumeUsedDesc, volumeCapacityDesc,
	} {
		ch <- d
	}
}

// collectDisk shows logs and volumes. A claim that several pods mount is shown once, as by the kubelet.
func collectDisk(send func(*prometheus.Desc, float64, ...string), pods []Pod, disk *diskUsage) {
	claims := map[[2]string]bool{}
	for i := range pods {
		p := &pods[i]
		eachContainer(p.Status, func(_ containerKind, c *v1.ContainerStatus) {
			if u, ok := disk.logs[logKey{p.uid(), c.Name}]; ok {
				send(logSizeDesc, float64(u.bytes), p.uid(), p.Key.Namespace, p.Key.Name, c.Name)
			}
		})
		for _, v := range disk.volumes[p.uid()] {
			send(volumeUsedDesc, float64(v.used.bytes), p.Key.Namespace, p.Key.Name, v.name)
			send(volumeCapacityDesc, float64(v.fs.capacity), p.Key.Namespace, p.Key.Name, v.name)
			if key := [2]string{p.Key.Namespace, v.claim}; v.claim != "" && !claims[key] {
				claims[key] = true
				send(claimCapacityDesc, float64(v.fs.capacity), key[0], key[1])
				send(claimAvailableDesc, float64(v.fs.available), key[0], key[1])
				send(claimUsedDesc, float64(v.used.bytes), key[0], key[1])
				send(claimInodesDesc, float64(v.fs.inodes), key[0], key[1])
				send(claimInodesFreeDesc, float64(v.fs.inodesFree), key[0], key[1])
				send(claimInodesUsedDesc, float64(v.used.inodes), key[0], key[1])
			}
		}
	}
}
