package manifests

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
)

// PullCredential is a user of a registry, from a Secret that a pod names in spec.imagePullSecrets.
type PullCredential struct {
	Username, Password string
	// Secret is "namespace/name" of where it stands, Hash tells two credentials apart.
	Secret, Hash string
}

// String names the Secret, never what is in it.
func (c PullCredential) String() string { return "secret " + c.Secret }

// GoString is String.
func (c PullCredential) GoString() string { return c.String() }

// PullCredentials are the credentials of a pod for an image (its full name), the most specific first, as the kubelet looks
// them up: by registry, path and wildcard. missing names the Secrets that are not there; the pull is tried without them.
func PullCredentials(p *Pod, image string) (found []PullCredential, missing []string, err error) {
	var passed []v1.Secret
	for _, ref := range p.Object.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		c := p.Bound.Secret(ref.Name)
		if c == nil {
			missing = append(missing, ref.Name)
			continue
		}
		s := v1.Secret{Type: c.Type, Data: c.data}
		s.Namespace, s.Name = c.Namespace, c.Name
		passed = append(passed, s)
	}
	if len(passed) == 0 {
		return nil, missing, nil
	}
	ring, err := secrets.MakeDockerKeyring(passed, &credentialprovider.BasicDockerKeyring{})
	if err != nil { // it would show a part of the secret
		return nil, missing, fmt.Errorf("reading the pull secrets of pod %s: one of them is no docker configuration", p.Key())
	}
	all, _ := ring.Lookup(image)
	for _, a := range all {
		c := PullCredential{Username: a.Username, Password: a.Password, Hash: a.AuthConfigHash}
		if s := a.Source; s != nil && s.Secret != nil {
			c.Secret = s.Secret.Namespace + "/" + s.Secret.Name
		}
		found = append(found, c)
	}
	return found, missing, nil
}
