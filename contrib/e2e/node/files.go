package node

import (
	"io"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Write puts a manifest in place by a rename, as careful programs do.
func (n *Node) Write(file, content string) {
	n.t.Helper()
	tmp := filepath.Join(n.Dir, "new-"+filepath.Base(file))
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		n.t.Fatalf("writing %s: %v", tmp, err)
	}
	if err := os.Rename(tmp, filepath.Join(n.Manifests(), file)); err != nil {
		n.t.Fatalf("moving %s into place: %v", file, err)
	}
}

// Apply writes a pod as NAME.yaml.
func (n *Node) Apply(pods ...*v1.Pod) {
	n.t.Helper()
	for _, p := range pods {
		n.Write(p.Name+".yaml", n.YAML(p))
	}
}

// Delete removes manifests by name of their pod.
func (n *Node) Delete(names ...string) {
	n.t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(n.Manifests(), name+".yaml")); err != nil {
			n.t.Fatalf("removing a manifest: %v", err)
		}
	}
}

// DropImage copies an image archive into the import directory and renames it into place.
func (n *Node) DropImage(archive string) {
	n.t.Helper()
	tmp := filepath.Join(n.Dir, "new-"+filepath.Base(archive))
	if err := copyFile(tmp, archive); err != nil {
		n.t.Fatalf("copying an image archive: %v", err)
	}
	if err := os.Rename(tmp, filepath.Join(n.Images(), filepath.Base(archive))); err != nil {
		n.t.Fatalf("dropping an image archive: %v", err)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// YAML encodes a pod as a manifest of this node: an annotation makes it another pod than that of a node beside it.
func (n *Node) YAML(p *v1.Pod) string {
	n.t.Helper()
	p = p.DeepCopy()
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, "edgepod.dev/e2e-node", n.Bridge)
	return YAML(n.t, p)
}

// YAML encodes a pod as a manifest.
func YAML(t T, p *v1.Pod) string {
	t.Helper()
	b, err := yaml.Marshal(p)
	if err != nil {
		t.Fatalf("encoding a pod: %v", err)
	}
	return string(b)
}

// Pod makes a pod with one container, called app, that runs a shell script in the busybox image; change it at will. It
// ends at once on SIGTERM.
func Pod(name, script string) *v1.Pod {
	grace := int64(5)
	return &v1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []v1.Container{{
				Name: "app", Image: Busybox, Command: []string{"sh", "-c", "trap 'exit 0' TERM\n" + script},
			}},
		},
	}
}

// Sleep is a script for Pod: it lives until it is told to end.
const Sleep = "while :; do sleep 3600 & wait $!; done"

// Busybox is the reference of the image that Archives builds.
const Busybox = "edgepod.dev/busybox:1"
