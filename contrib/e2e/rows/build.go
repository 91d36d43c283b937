package rows

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"edgepod.dev/agent/contrib/e2e/node"
)

// build makes the manifest of the row's pod. What the script says lands in /out/said, whole or not at all.
func (x *X) build() (string, error) {
	r, grace := x.Row, int64(2)
	p := &v1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	p.Spec.TerminationGracePeriodSeconds = &grace
	app := v1.Container{Name: "app", Image: node.Busybox, Command: []string{
		"sh", "-c",
		"trap 'exit 0' TERM\n{ " + x.fill(r.Script) + "\n:; } >/out/tmp 2>&1; mv /out/tmp /out/said; " + node.Sleep,
	}}
	for _, part := range []struct {
		name, text string
		into       any
	}{
		{"Meta", r.Meta, &p.ObjectMeta}, {"Pod", r.Pod, &p.Spec}, {"Container", r.Container, &app},
	} {
		if err := yaml.UnmarshalStrict([]byte(x.fill(part.text)), part.into); err != nil {
			return "", fmt.Errorf("reading %s: %w", part.name, err)
		}
	}
	p.Name = x.Name
	switch {
	case x.Side:
		always := v1.ContainerRestartPolicyAlways
		app.RestartPolicy = &always
		p.Spec.InitContainers = append(p.Spec.InitContainers, app)
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "main", Command: []string{"sh", "-c", "trap 'exit 0' TERM; " + node.Sleep}})
	case len(p.Spec.Containers) == 0 || r.Script != "" || r.Container != "":
		p.Spec.Containers = append([]v1.Container{app}, p.Spec.Containers...)
	}
	p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: "out", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: x.Out}}})
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = node.Busybox
			}
			list[i].VolumeMounts = append(list[i].VolumeMounts, v1.VolumeMount{Name: "out", MountPath: "/out"})
		}
	}
	text := x.node.YAML(p)
	if r.Beside != "" {
		text = strings.TrimSpace(x.fill(r.Beside)) + "\n---\n" + text
	}
	return text, nil
}

// fill puts the pod's own values into YAML and scripts.
func (x *X) fill(text string) string {
	return strings.NewReplacer("@NAME@", x.Name, "@OUT@", x.Out, "@PORT@", strconv.Itoa(x.Port)).Replace(text)
}

// podName makes a name for a pod of the row's.
func podName(row string, side bool) string {
	var b strings.Builder
	for _, c := range strings.ToLower(row) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := b.String()
	if side {
		name = name[:min(len(name), 58)]
		return strings.Trim(name, "-") + "-side"
	}
	return strings.Trim(name[:min(len(name), 63)], "-")
}

// apply writes the row's manifest, which makes the pod run.
func (x *X) apply() {
	if err := os.MkdirAll(x.Out, 0o777); err != nil {
		x.Fatalf("making the directory of the row: %v", err)
	}
	if err := os.Chmod(x.Out, 0o777); err != nil {
		x.Fatalf("opening the directory of the row: %v", err)
	}
	if x.Row.Before != nil {
		x.Row.Before(x)
	}
	text, err := x.build()
	if err != nil {
		x.Fatalf("%v", err)
	}
	x.node.Write(x.file(), text)
}

func (x *X) file() string { return x.Name + ".yaml" }

// remove takes the row's manifest away.
func (x *X) remove() {
	if err := os.Remove(filepath.Join(x.node.Manifests(), x.file())); err != nil {
		x.Errorf("removing the manifest: %v", err)
	}
}
