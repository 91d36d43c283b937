package manifests

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
)

// Reference is one place of a pod that names a ConfigMap or a Secret of the pod's namespace.
type Reference struct {
	Kind string
	Name string
	// Keys are the keys that the place asks for; none when it takes whatever is there.
	Keys []string
	// Optional says that the pod also starts without it.
	Optional bool
	// Field is the path of the name in the pod.
	Field string
}

// Containers are all containers of a pod: init containers, main containers, ephemeral containers.
func Containers(p *v1.Pod) (all []*v1.Container) {
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	for i := range p.Spec.EphemeralContainers {
		all = append(all, (*v1.Container)(&p.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// References lists what a pod names, in the order of the document.
func References(p *v1.Pod) []Reference {
	r := referrer{}
	for i := range p.Spec.InitContainers {
		r.container(&p.Spec.InitContainers[i], fmt.Sprintf("spec.initContainers[%d]", i))
	}
	for i := range p.Spec.Containers {
		r.container(&p.Spec.Containers[i], fmt.Sprintf("spec.containers[%d]", i))
	}
	for i := range p.Spec.EphemeralContainers {
		c := &p.Spec.EphemeralContainers[i].EphemeralContainerCommon
		r.container((*v1.Container)(c), fmt.Sprintf("spec.ephemeralContainers[%d]", i))
	}
	for i := range p.Spec.Volumes {
		r.volume(&p.Spec.Volumes[i].VolumeSource, fmt.Sprintf("spec.volumes[%d]", i))
	}
	for i, s := range p.Spec.ImagePullSecrets {
		// The kubelet pulls without a secret that is missing.
		r.add(Reference{Kind: KindSecret, Name: s.Name, Optional: true, Field: fmt.Sprintf("spec.imagePullSecrets[%d].name", i)})
	}
	return r.found
}

type referrer struct{ found []Reference }

func (r *referrer) add(ref Reference) {
	if ref.Name != "" {
		r.found = append(r.found, ref)
	}
}

func (r *referrer) container(c *v1.Container, at string) {
	for i, e := range c.EnvFrom {
		at := fmt.Sprintf("%s.envFrom[%d]", at, i)
		if s := e.ConfigMapRef; s != nil {
			r.add(Reference{Kind: KindConfigMap, Name: s.Name, Optional: isTrue(s.Optional), Field: at + ".configMapRef.name"})
		}
		if s := e.SecretRef; s != nil {
			r.add(Reference{Kind: KindSecret, Name: s.Name, Optional: isTrue(s.Optional), Field: at + ".secretRef.name"})
		}
	}
	for i, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		at := fmt.Sprintf("%s.env[%d].valueFrom", at, i)
		if s := e.ValueFrom.ConfigMapKeyRef; s != nil {
			r.add(Reference{KindConfigMap, s.Name, []string{s.Key}, isTrue(s.Optional), at + ".configMapKeyRef.name"})
		}
		if s := e.ValueFrom.SecretKeyRef; s != nil {
			r.add(Reference{KindSecret, s.Name, []string{s.Key}, isTrue(s.Optional), at + ".secretKeyRef.name"})
		}
	}
}

func (r *referrer) volume(v *v1.VolumeSource, at string) {
	if s := v.ConfigMap; s != nil {
		r.add(Reference{KindConfigMap, s.Name, keysOf(s.Items), isTrue(s.Optional), at + ".configMap.name"})
	}
	if s := v.Secret; s != nil {
		r.add(Reference{KindSecret, s.SecretName, keysOf(s.Items), isTrue(s.Optional), at + ".secret.secretName"})
	}
	if v.Projected == nil {
		return
	}
	for i, s := range v.Projected.Sources {
		at := fmt.Sprintf("%s.projected.sources[%d]", at, i)
		if s := s.ConfigMap; s != nil {
			r.add(Reference{KindConfigMap, s.Name, keysOf(s.Items), isTrue(s.Optional), at + ".configMap.name"})
		}
		if s := s.Secret; s != nil {
			r.add(Reference{KindSecret, s.Name, keysOf(s.Items), isTrue(s.Optional), at + ".secret.name"})
		}
	}
}

func keysOf(items []v1.KeyToPath) []string {
	var keys []string
	for _, i := range items {
		keys = append(keys, i.Key)
	}
	return keys
}

func isTrue(b *bool) bool { return b != nil && *b }

// CheckReferences finds what pods name and none of the objects is, for a person who validates files before they reach a
// node. What it finds are warnings: the object may come later, and the pod's containers wait for it.
func CheckReferences(pods []*Pod, configs []*Config) []Problem {
	known := byKey(configs)
	var found []Problem
	for _, p := range pods {
		for _, r := range References(p.Object) {
			if r.Optional {
				continue
			}
			warn := func(format string, args ...any) {
				found = append(found, Problem{
					Origin: p.Origin, Pod: p.Key(), Field: r.Field, Message: fmt.Sprintf(format, args...),
					Hint: "the container waits until it is there",
				})
			}
			c, ok := known[ConfigKey{r.Kind, p.Object.Namespace, r.Name}]
			if !ok {
				warn("%s %q is in none of the files", lowerKind(r.Kind), r.Name)
				continue
			}
			for _, k := range r.Keys {
				if _, ok := c.Bytes(k); !ok {
					warn("%s %q at %s has no key %q", lowerKind(r.Kind), r.Name, c.Origin, k)
				}
			}
		}
	}
	return found
}

func byKey(configs []*Config) map[ConfigKey]*Config {
	m := make(map[ConfigKey]*Config, len(configs))
	for _, c := range configs {
		if _, ok := m[c.ConfigKey]; !ok {
			m[c.ConfigKey] = c
		}
	}
	return m
}
