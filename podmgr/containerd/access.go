package containerd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/containerd/containerd/v2/client"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// An image that a pod's own credentials brought is for pods that have such credentials, as with the kubelet
// (KubeletEnsureSecretPulledImages, NeverVerifyPreloadedImages): another pod has to ask the registry with its own, or none.
// Who has shown that it may have the image is kept on the image's record. An image without that was imported, or pulled
// with what the node itself has: every pod may use it.
const labelAccess = "agent.edgepod.dev/pulled-with"

// access is who may use an image that is here.
type access struct {
	digest  digest.Digest // of which image it tells
	secrets []string      // "namespace/name=hash"; none: everybody
}

// maxAccess bounds the label: containerd takes 4096 bytes.
const maxAccess = 3500

func accessOf(labels map[string]string) access {
	d, list, ok := strings.Cut(labels[labelAccess], " ")
	if !ok || list == "" {
		return access{}
	}
	return access{digest: digest.Digest(d), secrets: strings.Split(list, ",")}
}

func (a access) label() string {
	list := strings.Join(a.secrets, ",")
	for len(list) > maxAccess {
		_, list, _ = strings.Cut(list, ",")
	}
	return a.digest.String() + " " + list
}

// allows says whether one of the credentials has been shown for the image. The same Secret with a newer password counts.
func (a access) allows(creds []manifests.PullCredential) bool {
	if len(a.secrets) == 0 {
		return true
	}
	return slices.ContainsFunc(creds, func(c manifests.PullCredential) bool {
		return slices.ContainsFunc(a.secrets, func(s string) bool {
			name, hash, _ := strings.Cut(s, "=")
			return name == c.Secret || hash == shortHash(c)
		})
	})
}

// with is the access after a pull of the image d with a credential; nil is what the node has, or nothing.
func (a access) with(d digest.Digest, c *manifests.PullCredential) access {
	if c == nil {
		return access{}
	}
	if a.digest != d {
		a.secrets = nil
	}
	entry := c.Secret + "=" + shortHash(*c)
	kept := slices.DeleteFunc(slices.Clone(a.secrets), func(s string) bool { return s == entry })
	return access{digest: d, secrets: append(kept, entry)}
}

func shortHash(c manifests.PullCredential) string { return c.Hash[:min(len(c.Hash), 32)] }

// reasonPullSecret is the kubelet's reason of a warning about Secrets that are missing.
const reasonPullSecret = "FailedToRetrieveImagePullSecret"

// credentialsOf are those of a pod for an image. A Secret that is missing is a warning.
func (r *Runtime) credentialsOf(p *manifests.Pod, name string) ([]manifests.PullCredential, error) {
	found, missing, err := manifests.PullCredentials(p, name)
	var notes []podmgr.Note
	if len(missing) > 0 {
		notes = append(notes, podmgr.Note{
			Reason:  reasonPullSecret,
			Message: "Unable to retrieve some image pull secrets (" + strings.Join(missing, ", ") + "); attempting to pull the image may not succeed.",
		})
	}
	r.notes.set(p.UID(), "", []string{reasonPullSecret}, notes...)
	return found, err
}

// fetchAs asks the registry with each of the pod's credentials in turn, and with what the node has when there is none or
// none will do; the error is the first credential's.
func (x *images) fetchAs(ctx context.Context, name string, appear bool, creds []manifests.PullCredential) (client.Image, error) {
	usable := func(img client.Image) bool { return appear && accessOf(img.Labels()).allows(creds) }
	var first error
	for i := range creds {
		img, err := x.fetchOrAppear(ctx, name, &creds[i], usable)
		if err == nil {
			return img, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil || unreachable(err) {
			return nil, err
		}
	}
	img, err := x.fetchOrAppear(ctx, name, nil, usable)
	if err != nil && first != nil {
		return nil, first
	}
	return img, err
}

// pullAs pulls an image with a credential (nil: what the node has) and notes on its record who may use it. Until the pull
// has ended that is the credential's pods alone.
func (x *images) pullAs(ctx context.Context, name string, cred *manifests.PullCredential, opts ...client.RemoteOpt) (client.Image, error) {
	var before access
	if old, err := x.client.GetImage(ctx, name); err == nil {
		before = accessOf(old.Labels())
	}
	labels := map[string]string{}
	maps.Copy(labels, x.pinOf(ctx, name))
	if cred != nil {
		labels[labelAccess] = access{}.with("", cred).label()
	}
	img, err := x.client.Pull(ctx, name, append(opts, client.WithPullLabels(labels))...)
	if err != nil || cred == nil {
		return img, err
	}
	record := img.Metadata()
	record.Labels = maps.Clone(record.Labels)
	record.Labels[labelAccess] = before.with(record.Target.Digest, cred).label()
	if _, err := x.client.ImageService().Update(ctx, record, "labels."+labelAccess); err != nil {
		return nil, fmt.Errorf("noting who may use the image: %w", err)
	}
	return x.client.GetImage(ctx, name)
}

// isRegistryOf says whether host is where the image of this name stands, and no mirror of it: a pod's credentials go
// nowhere else.
func isRegistryOf(host, name string) bool {
	n, err := reference.ParseDockerRef(name)
	return err == nil && authHost(host) == authHost(reference.Domain(n))
}
