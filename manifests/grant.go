package manifests

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Grant is what only a source with an API server can give a pod, beside ConfigMaps and Secrets. The source asks for it on
// behalf of the pod; the pod carries it as data. A source shares the maps and never writes to them again.
type Grant struct {
	// Files are the files of the sources of projected volumes that an API server makes: serviceAccountToken,
	// clusterTrustBundle, podCertificate. One that is missing keeps the containers waiting.
	Files map[FileKey][]byte
	// Claims say what the volumes of kind persistentVolumeClaim and ephemeral are, by the name of the volume in the pod.
	Claims map[string]Claim
	// Env is set before all that a container names itself: the variables of the cluster's services.
	Env []EnvVar
}

// FileKey is a file of a projected volume of a pod.
type FileKey struct {
	// Volume is spec.volumes[].name, Path the path in it as in the projected source.
	Volume, Path string
}

// Claim is the storage that a PersistentVolumeClaim is bound to: exactly one of HostPath, Local, NFS and Problem is set.
type Claim struct {
	HostPath *v1.HostPathVolumeSource
	// Local is a directory of the node; fsGroup is applied to it, as the kubelet does.
	Local *v1.LocalVolumeSource
	NFS   *v1.NFSVolumeSource
	// ReadOnly says that the claim or the volume may only be read.
	ReadOnly bool
	// Problem says why there is no storage yet, such as `persistentvolumeclaim "data" is not bound`; containers that mount
	// the volume wait.
	Problem string
}

func (c Claim) text() string {
	switch {
	case c.HostPath != nil:
		kind := ""
		if c.HostPath.Type != nil {
			kind = string(*c.HostPath.Type)
		}
		return fmt.Sprintf("hostPath %q %q %t", c.HostPath.Path, kind, c.ReadOnly)
	case c.Local != nil:
		return fmt.Sprintf("local %q %t", c.Local.Path, c.ReadOnly)
	case c.NFS != nil:
		return fmt.Sprintf("nfs %q %q %t %t", c.NFS.Server, c.NFS.Path, c.NFS.ReadOnly, c.ReadOnly)
	}
	return "problem " + c.Problem
}

func (g Grant) empty() bool { return len(g.Files) == 0 && len(g.Claims) == 0 && len(g.Env) == 0 }

// lines is the grant as text, for its hash.
func (g Grant) lines() []string {
	var lines []string
	for _, k := range slices.SortedFunc(maps.Keys(g.Files), func(a, b FileKey) int {
		return strings.Compare(a.Volume+"/"+a.Path, b.Volume+"/"+b.Path)
	}) {
		lines = append(lines, "file", k.Volume, k.Path, string(g.Files[k]))
	}
	for _, name := range sortedKeys(g.Claims) {
		lines = append(lines, "claim", name, g.Claims[name].text())
	}
	for _, e := range g.Env {
		lines = append(lines, "env", e.Name, e.Value)
	}
	return lines
}

// Claim is what the claim of a volume was resolved to; ok is false when the source said nothing about it.
func (b *Bound) Claim(volume string) (c Claim, ok bool) {
	if b == nil {
		return Claim{}, false
	}
	c, ok = b.grant.Claims[volume]
	return c, ok
}

// file is a granted file of a projected volume.
func (b *Bound) file(volume, path string) ([]byte, bool) {
	if b == nil {
		return nil, false
	}
	data, ok := b.grant.Files[FileKey{volume, path}]
	return data, ok
}

// env are the variables that stand before those of the container.
func (b *Bound) env() []EnvVar {
	if b == nil {
		return nil
	}
	return b.grant.Env
}

// VolumeReadOnly says whether a volume is read-only in every container, whatever its mounts say: one made of documents or
// of an image, and storage that is.
func VolumeReadOnly(p *Pod, v *v1.Volume) bool {
	if VolumeHasFiles(v) || v.Image != nil || v.NFS != nil && v.NFS.ReadOnly {
		return true
	}
	c, _ := p.Bound.Claim(v.Name)
	return c.ReadOnly || c.NFS != nil && c.NFS.ReadOnly || v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
}
