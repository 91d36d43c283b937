package manifests

import (
	"errors"
	"fmt"
	"maps"
	"path"

	v1 "k8s.io/api/core/v1"
)

// File is a file of a volume whose content comes from documents or from the pod itself.
type File struct {
	Data []byte // shared: do not write to it
	Mode int32
	// UID is who owns it; 0 is root.
	UID int64
}

// VolumeHasFiles says whether VolumeFiles knows the content of a volume: configMap, secret, downwardAPI, projected. Such a
// volume is read-only in every container.
func VolumeHasFiles(v *v1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// VolumeFiles is the content of such a volume by path within it. It is pure. The error names what is missing in the
// kubelet's words; an optional object that is missing is an empty volume.
func VolumeFiles(p *Pod, v *v1.Volume, f Facts) (map[string]File, error) {
	w := &volumeFiles{pod: p, volume: v.Name, facts: f}
	var mode *int32
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		mode = s.DefaultMode
		w.fromConfig(KindConfigMap, s.Name, s.Items, s.Optional)
	case v.Secret != nil:
		s := v.Secret
		mode = s.DefaultMode
		w.fromConfig(KindSecret, s.SecretName, s.Items, s.Optional)
	case v.DownwardAPI != nil:
		mode = v.DownwardAPI.DefaultMode
		w.fromPod(v.DownwardAPI.Items)
	case v.Projected != nil:
		mode = v.Projected.DefaultMode
		for i := range v.Projected.Sources {
			w.fromSource(&v.Projected.Sources[i])
		}
	default:
		return nil, fmt.Errorf("volume %q: its content is not made of documents", v.Name)
	}
	if err := errors.Join(w.errs...); err != nil {
		return nil, fmt.Errorf("volume %q: %w", v.Name, err)
	}
	files := make(map[string]File, len(w.files))
	for name, file := range w.files {
		m := int32(0o644) // what the API server fills in
		if mode != nil {
			m = *mode
		}
		if file.mode != nil {
			m = *file.mode
		}
		files[name] = File{Data: file.data, Mode: m, UID: file.uid}
	}
	return files, nil
}

// volumeFiles is one VolumeFiles at work. Later sources win where paths are equal.
type volumeFiles struct {
	pod    *Pod
	volume string // its name
	facts  Facts
	files  map[string]fileWithMode
	errs   []error
}

type fileWithMode struct {
	data []byte
	mode *int32
	uid  int64
}

func (w *volumeFiles) fail(err error) { w.errs = append(w.errs, err) }

func (w *volumeFiles) put(files map[string]fileWithMode) {
	if w.files == nil {
		w.files = map[string]fileWithMode{}
	}
	maps.Copy(w.files, files)
}

func (w *volumeFiles) fromSource(s *v1.VolumeProjection) {
	switch {
	case s.ConfigMap != nil:
		w.fromConfig(KindConfigMap, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.Secret != nil:
		w.fromConfig(KindSecret, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.DownwardAPI != nil:
		w.fromPod(s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		w.granted(s, "serviceAccountToken", true, s.ServiceAccountToken.Path)
	case s.ClusterTrustBundle != nil:
		w.granted(s, "clusterTrustBundle", false, s.ClusterTrustBundle.Path)
	case s.PodCertificate != nil:
		c := s.PodCertificate
		w.granted(s, "podCertificate", true, c.CredentialBundlePath, c.KeyPath, c.CertificateChainPath)
	default:
		kind, reason := refusedSource(s)
		w.fail(fmt.Errorf("%s is not supported: %s", kind, reason))
	}
}

// granted takes files that the source got for the pod. A credential is its owner's alone when the pod says who that is,
// by fsGroup or by one user for all containers (kubelet: pkg/volume/projected).
func (w *volumeFiles) granted(s *v1.VolumeProjection, kind string, credential bool, paths ...string) {
	files := map[string]fileWithMode{}
	for _, p := range paths {
		if p == "" {
			continue
		}
		data, ok := w.pod.Bound.file(w.volume, p)
		if !ok {
			if w.pod.Document != nil || w.pod.Bound == nil {
				kind, reason := refusedSource(s)
				w.fail(fmt.Errorf("%s is not supported: %s", kind, reason))
				return
			}
			if b := s.ClusterTrustBundle; b == nil || !isTrue(b.Optional) {
				w.fail(fmt.Errorf("the %s for %q is not there yet", kind, p))
			}
			continue
		}
		f := fileWithMode{data: data}
		if credential {
			uid := onlyUser(w.pod.Object)
			if uid != nil {
				f.uid = *uid
			}
			if sc := w.pod.Object.Spec.SecurityContext; uid != nil || sc != nil && sc.FSGroup != nil {
				own := int32(0o600)
				f.mode = &own
			}
		}
		files[path.Clean(p)] = f
	}
	w.put(files)
}

// onlyUser is the user that all containers of a pod run as; nil when they say nothing or different things (kubelet:
// FsUserFrom).
func onlyUser(p *v1.Pod) *int64 {
	var only *int64
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			var user *int64
			if sc := p.Spec.SecurityContext; sc != nil {
				user = sc.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				user = sc.RunAsUser
			}
			if user == nil || only != nil && *only != *user {
				return nil
			}
			only = user
		}
	}
	return only
}

func (w *volumeFiles) fromConfig(kind, name string, items []v1.KeyToPath, optional *bool) {
	c := w.pod.Bound.ConfigMap(name)
	if kind == KindSecret {
		c = w.pod.Bound.Secret(name)
	}
	if c == nil {
		if err := absent(kind, name, optional); err != nil {
			w.fail(err)
		}
		return
	}
	files := map[string]fileWithMode{}
	if len(items) == 0 {
		for _, key := range c.Keys() {
			data, _ := c.Bytes(key)
			files[key] = fileWithMode{data: data}
		}
	}
	for _, item := range items {
		data, ok := c.Bytes(item.Key)
		switch {
		case ok:
			files[path.Clean(item.Path)] = fileWithMode{data: data, mode: item.Mode}
		case isTrue(optional):
		case kind == KindSecret:
			w.fail(fmt.Errorf("references non-existent secret key: %s", item.Key))
			return
		default:
			w.fail(fmt.Errorf("configmap references non-existent config key: %s", item.Key))
			return
		}
	}
	w.put(files)
}

func (w *volumeFiles) fromPod(items []v1.DownwardAPIVolumeFile) {
	files := map[string]fileWithMode{}
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = fieldValue(w.pod.Object, item.FieldRef, w.facts)
		case item.ResourceFieldRef != nil:
			value, err = resourceValue(w.pod.Object, nil, item.ResourceFieldRef, w.facts)
		}
		if err != nil {
			w.fail(err)
			continue
		}
		files[path.Clean(item.Path)] = fileWithMode{data: []byte(value), mode: item.Mode}
	}
	w.put(files)
}
