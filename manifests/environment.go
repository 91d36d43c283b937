package manifests

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// EnvVar is a variable of a container's environment.
type EnvVar struct{ Name, Value string }

// Environment resolves the environment of a container as the kubelet does (makeEnvironmentVariables): the variables of
// envFrom, in order, each key sorted, overridden by those of env, in order; $(NAME) in a value stands for what was set
// before it, $$ for a dollar. Notes are texts for the pod's events about variables that were left out.
//
// The error names the object and the key that is missing, in the kubelet's words; the container waits for it with
// CreateContainerConfigError.
func Environment(p *Pod, c *v1.Container, f Facts) (env []EnvVar, notes []string, err error) {
	e := &environment{pod: p, c: c, facts: f, index: map[string]int{}}
	for _, v := range p.Bound.env() {
		e.set(v.Name, v.Value)
	}
	for i := range c.EnvFrom {
		if err := e.from(&c.EnvFrom[i]); err != nil {
			return nil, nil, err
		}
	}
	for i := range c.Env {
		if err := e.variable(&c.Env[i]); err != nil {
			return nil, nil, err
		}
	}
	return e.vars, e.notes, nil
}

// environment is one Environment at work.
type environment struct {
	pod   *Pod
	c     *v1.Container
	facts Facts
	vars  []EnvVar
	index map[string]int // into vars
	notes []string
}

func (e *environment) lookup(name string) (string, bool) {
	i, ok := e.index[name]
	if !ok {
		return "", false
	}
	return e.vars[i].Value, true
}

func (e *environment) set(name, value string) {
	if i, ok := e.index[name]; ok {
		e.vars[i].Value = value
		return
	}
	e.index[name] = len(e.vars)
	e.vars = append(e.vars, EnvVar{name, value})
}

// from adds the keys of a ConfigMap or Secret.
func (e *environment) from(s *v1.EnvFromSource) error {
	var c *Config
	switch {
	case s.ConfigMapRef != nil:
		if c = e.pod.Bound.ConfigMap(s.ConfigMapRef.Name); c == nil {
			return absent(KindConfigMap, s.ConfigMapRef.Name, s.ConfigMapRef.Optional)
		}
	case s.SecretRef != nil:
		if c = e.pod.Bound.Secret(s.SecretRef.Name); c == nil {
			return absent(KindSecret, s.SecretRef.Name, s.SecretRef.Optional)
		}
	default:
		return nil
	}
	var skipped []string
	for _, key := range c.Keys() {
		value, ok := c.Text(key)
		if !ok {
			continue // binaryData, which Kubernetes leaves out in silence
		}
		name := s.Prefix + key
		if len(validation.IsRelaxedEnvVarName(name)) > 0 || strings.IndexByte(value, 0) >= 0 {
			skipped = append(skipped, key)
			continue
		}
		e.set(name, value)
	}
	if len(skipped) > 0 {
		e.notes = append(e.notes, fmt.Sprintf("Keys [%s] from the EnvFrom %s %s/%s were skipped since they are considered invalid environment variables.",
			strings.Join(skipped, ", "), lowerKind(c.Kind), c.Namespace, c.Name))
	}
	return nil
}

// absent is the error of an object that does not exist; nil when it need not.
func absent(kind, name string, optional *bool) error {
	if isTrue(optional) {
		return nil
	}
	return fmt.Errorf("%s %q not found", lowerKind(kind), name)
}

// variable adds one variable of env. One whose optional source is missing is not set; it does not hide one of envFrom.
func (e *environment) variable(v *v1.EnvVar) error {
	value, ok := v.Value, true
	switch {
	case v.Value != "":
		value = Expand(v.Value, e.lookup)
	case v.ValueFrom != nil:
		var err error
		if value, ok, err = e.source(v.ValueFrom); err != nil {
			return err
		}
	}
	if !ok {
		return nil
	}
	if strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("the value of environment variable %q contains a NUL byte", v.Name)
	}
	e.set(v.Name, value)
	return nil
}

// source reads the value of a variable from elsewhere; ok is false when it is optional and missing.
func (e *environment) source(s *v1.EnvVarSource) (value string, ok bool, err error) {
	switch {
	case s.FieldRef != nil:
		value, err = fieldValue(e.pod.Object, s.FieldRef, e.facts)
		return value, true, err
	case s.ResourceFieldRef != nil:
		value, err = resourceValue(e.pod.Object, e.c, s.ResourceFieldRef, e.facts)
		return value, true, err
	case s.ConfigMapKeyRef != nil:
		r := s.ConfigMapKeyRef
		return e.key(e.pod.Bound.ConfigMap(r.Name), KindConfigMap, r.Name, r.Key, r.Optional)
	case s.SecretKeyRef != nil:
		r := s.SecretKeyRef
		return e.key(e.pod.Bound.Secret(r.Name), KindSecret, r.Name, r.Key, r.Optional)
	case s.FileKeyRef != nil:
		return e.file(s.FileKeyRef)
	}
	return "", true, nil
}

func (e *environment) key(c *Config, kind, name, key string, optional *bool) (value string, ok bool, err error) {
	if c == nil {
		return "", false, absent(kind, name, optional)
	}
	value, ok = c.Text(key)
	if !ok && !isTrue(optional) {
		return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, e.pod.Object.Namespace, name)
	}
	return value, ok, nil
}

// file reads a variable from a file that an init container wrote into a volume. As with the kubelet, an empty value is a
// missing one.
func (e *environment) file(r *v1.FileKeySelector) (value string, ok bool, err error) {
	optional := isTrue(r.Optional)
	if e.facts.ReadVolumeFile == nil {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", r.VolumeName)
	}
	data, err := e.facts.ReadVolumeFile(r.VolumeName, r.Path)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading environment file %q of volume %q: %w", r.Path, r.VolumeName, err)
	}
	if value, err = parseEnvFile(data, r.Key); err != nil {
		return "", false, fmt.Errorf("reading environment file %q of volume %q: %w", r.Path, r.VolumeName, err)
	}
	if value == "" && !optional {
		return "", false, fmt.Errorf("environment variable key %q not found in file %q of volume %q", r.Key, r.Path, r.VolumeName)
	}
	return value, value != "", nil
}
