package manifests

import v1 "k8s.io/api/core/v1"

// Reasons why a kind of volume cannot be had on a node by itself.
const (
	needsAPIServer = "it needs an API server"
	needsDriver    = "it needs a storage driver, and the agent runs none; mount the storage on the node and use hostPath"
	wasRemoved     = "Kubernetes has removed it"
	needsToken     = "there are no service account tokens without an API server"
)

// RefusedVolume is a kind of volume that the agent never makes, by the name of its field.
type RefusedVolume struct {
	Kind   string
	Reason string
	has    func(*v1.VolumeSource) bool
}

// RefusedVolumes lists the kinds of volumes that are refused, each with the reason.
func RefusedVolumes() []RefusedVolume {
	return []RefusedVolume{
		{"persistentVolumeClaim", needsAPIServer, func(v *v1.VolumeSource) bool { return v.PersistentVolumeClaim != nil }},
		{"ephemeral", needsAPIServer, func(v *v1.VolumeSource) bool { return v.Ephemeral != nil }},
		{"csi", needsDriver, func(v *v1.VolumeSource) bool { return v.CSI != nil }},
		{"iscsi", needsDriver, func(v *v1.VolumeSource) bool { return v.ISCSI != nil }},
		{"fc", needsDriver, func(v *v1.VolumeSource) bool { return v.FC != nil }},
		{
			"flexVolume", "it runs a driver of the node as root; mount the storage on the node and use hostPath",
			func(v *v1.VolumeSource) bool { return v.FlexVolume != nil },
		},
		{
			"gitRepo", "it runs git as root on what strangers wrote (CVE-2024-10220); clone in an init container into an emptyDir",
			func(v *v1.VolumeSource) bool { return v.GitRepo != nil },
		},
		{"awsElasticBlockStore", needsDriver, func(v *v1.VolumeSource) bool { return v.AWSElasticBlockStore != nil }},
		{"azureDisk", needsDriver, func(v *v1.VolumeSource) bool { return v.AzureDisk != nil }},
		{"azureFile", needsDriver, func(v *v1.VolumeSource) bool { return v.AzureFile != nil }},
		{"cinder", needsDriver, func(v *v1.VolumeSource) bool { return v.Cinder != nil }},
		{"gcePersistentDisk", needsDriver, func(v *v1.VolumeSource) bool { return v.GCEPersistentDisk != nil }},
		{"portworxVolume", needsDriver, func(v *v1.VolumeSource) bool { return v.PortworxVolume != nil }},
		{"vsphereVolume", needsDriver, func(v *v1.VolumeSource) bool { return v.VsphereVolume != nil }},
		{"cephfs", wasRemoved, func(v *v1.VolumeSource) bool { return v.CephFS != nil }},
		{"flocker", wasRemoved, func(v *v1.VolumeSource) bool { return v.Flocker != nil }},
		{"glusterfs", wasRemoved, func(v *v1.VolumeSource) bool { return v.Glusterfs != nil }},
		{"photonPersistentDisk", wasRemoved, func(v *v1.VolumeSource) bool { return v.PhotonPersistentDisk != nil }},
		{"quobyte", wasRemoved, func(v *v1.VolumeSource) bool { return v.Quobyte != nil }},
		{"rbd", wasRemoved, func(v *v1.VolumeSource) bool { return v.RBD != nil }},
		{"scaleIO", wasRemoved, func(v *v1.VolumeSource) bool { return v.ScaleIO != nil }},
		{"storageos", wasRemoved, func(v *v1.VolumeSource) bool { return v.StorageOS != nil }},
	}
}

// VolumeRefusal returns the kind of a volume that is refused and the reason, empty when it is not.
func VolumeRefusal(v *v1.Volume) (kind, reason string) {
	for _, r := range RefusedVolumes() {
		if r.has(&v.VolumeSource) {
			return r.Kind, r.Reason
		}
	}
	return "", ""
}

// refusedSource is VolumeRefusal for a source of a projected volume.
func refusedSource(s *v1.VolumeProjection) (kind, reason string) {
	switch {
	case s.ServiceAccountToken != nil:
		return "serviceAccountToken", needsToken
	case s.ClusterTrustBundle != nil:
		return "clusterTrustBundle", needsAPIServer
	case s.PodCertificate != nil:
		return "podCertificate", needsAPIServer
	}
	return "a source of no known kind", "this version does not know it"
}
