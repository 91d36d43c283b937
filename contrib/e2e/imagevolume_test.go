package e2e

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// artifact is a manifest as it is pushed.
type artifact []byte

func (a artifact) RawManifest() ([]byte, error)        { return a, nil }
func (a artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// pushArtifact pushes an OCI artifact that is no image, as oras makes it: the empty configuration and one layer of a media type.
func (r *repository) pushArtifact(t *testing.T, repo string, kind types.MediaType) string {
	t.Helper()
	m := ggcr.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	tag, err := name.NewTag(r.host+"/"+repo, name.Insecure)
	for _, blob := range []ggcr.Layer{
		static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json"), static.NewLayer([]byte("weights of a model\n"), kind),
	} {
		if err == nil {
			err = remote.WriteLayer(tag.Repository, blob)
		}
		d, derr := partial.Descriptor(blob)
		if err = errors.Join(err, derr); err != nil {
			t.Fatalf("pushing a blob: %v", err)
		}
		m.Layers = append(m.Layers, *d)
	}
	m.Config, m.Layers = m.Layers[0], m.Layers[1:]
	b, err := json.Marshal(m)
	if err == nil {
		err = remote.Put(tag, artifact(b))
	}
	if err != nil {
		t.Fatalf("pushing %s: %v", tag, err)
	}
	return tag.String()
}

func TestAnImageIsAVolume(t *testing.T) {
	aloneOnEngines(t, func(t *testing.T, n *node.Node) {
		r := serve(t, n, "volumes.example")
		ref := r.push(t, "config:1", "one")
		n.Start()
		p := node.Pod("reader", `cat /img/version /sub; echo; echo x >/img/f || echo readonly; /img/bin/busybox true || echo noexec; grep ' /img ' /proc/mounts; `+node.Sleep)
		p.Spec.Volumes = []v1.Volume{
			{Name: "img", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: ref, PullPolicy: v1.PullIfNotPresent}}},
			{Name: "idle", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: r.host + "/gone:1"}}}, // nobody mounts it
		}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{
			{Name: "img", MountPath: "/img"}, {Name: "img", MountPath: "/sub", SubPath: "version"},
		}
		n.Apply(p)
		n.WaitRunning("reader")
		for _, want := range []string{"oneone", "readonly", "noexec", " ro,"} {
			said(n, "reader", want)
		}
		// One that cannot be had keeps the containers that mount it waiting, as an image of theirs would.
		missing := node.Pod("missing", node.Sleep)
		missing.Spec.Volumes = []v1.Volume{{Name: "img", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: r.host + "/later:1"}}}}
		missing.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "img", MountPath: "/img"}}
		n.Apply(missing)
		waiting(n, "missing", "ErrImagePull", "ImagePullBackOff")
		// So does an OCI artifact that is no image, as oras makes them: its layers are no root filesystem.
		for what, layer := range map[string]types.MediaType{"files": types.OCIUncompressedLayer, "model": "application/vnd.example.model.v1"} {
			p := node.Pod(what, node.Sleep)
			p.Spec.Volumes = []v1.Volume{{Name: "img", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: r.pushArtifact(t, what+":1", layer)}}}}
			p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "img", MountPath: "/img"}}
			n.Apply(p)
			n.Eventually(what+" to be refused by name", func() string {
				if out := n.MustAgent("describe", "pod", what); !strings.Contains(out, `it is an OCI artifact ("application/vnd.oci.empty.v1+json") and no image`) {
					return out
				}
				return ""
			})
			waiting(n, what, "ErrImagePull", "ImagePullBackOff")
		}
		// The next container finds it again after a restart of the agent, and after a reboot.
		n.Kill()
		n.Start()
		n.KillProcesses(node.Of(n.Apps(), string(n.Pod("reader").UID)))
		n.Wait("reader", "running again", func(p *v1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1 && node.Ready(p)
		})
		said(n, "reader", "oneone")
		n.Reboot()
		if n.Engine == node.External {
			n.StartContainerd()
		}
		n.Start()
		n.Wait("reader", "running after the reboot", func(p *v1.Pod) bool { return p != nil && node.Ready(p) })
		n.Eventually("the volume after the reboot", func() string {
			out, errs, code := n.Agent("exec", "reader", "--", "cat", "/img/version")
			if code == 0 && strings.TrimSpace(out) == "one" {
				return ""
			}
			return out + errs
		})
		n.Delete("reader", "missing", "files", "model")
		n.WaitClean()
	})
}
