package e2e

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

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
		n.Delete("reader", "missing")
		n.WaitClean()
	})
}
