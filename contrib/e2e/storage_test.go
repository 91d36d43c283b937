package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"edgepod.dev/agent/contrib/e2e/node"
)

// TestAPodThatFillsTheDiskBeginsAnewWithoutItsData has two pods go past a limit, and one that stays below its own.
func TestAPodThatFillsTheDiskBeginsAnewWithoutItsData(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		limit := resource.MustParse("1Mi")
		filler := func(name string, megabytes int) *v1.Pod {
			p := node.Pod(name, fmt.Sprintf("[ -e /v/f ] && echo old data; dd if=/dev/zero of=/v/f bs=1M count=%d; "+node.Sleep, megabytes))
			p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
			p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "v", MountPath: "/v"}}
			return p
		}
		volume, whole, small := filler("volume", 3), filler("whole", 3), filler("small", 3)
		volume.Spec.Volumes[0].EmptyDir.SizeLimit = &limit
		whole.Spec.Containers[0].Resources.Limits = v1.ResourceList{v1.ResourceEphemeralStorage: limit}
		big := resource.MustParse("8Mi")
		small.Spec.Volumes[0].EmptyDir.SizeLimit = &big
		n.Apply(volume, whole, small)
		n.WaitRunning("volume", "whole", "small")
		kept := n.Pod("small").Status.ContainerStatuses[0].ContainerID
		for name, want := range map[string]string{
			"volume": `Usage of EmptyDir volume "v" exceeds the limit "1Mi". `,
			"whole":  "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
		} {
			n.Within(40*time.Second, "pod "+name+" to be evicted and to begin anew", func() string {
				out := n.MustAgent("describe", "pod", name)
				if p := n.Pod(name); !strings.Contains(out, "Evicted") || !strings.Contains(out, strings.TrimSpace(want)) || p == nil || !node.Ready(p) {
					return out
				}
				return ""
			})
			if out, _, _ := n.Agent("logs", name); strings.Contains(out, "old data") {
				t.Errorf("pod %s has the data that it was evicted for", name)
			}
		}
		if p := n.Pod("small"); p.Status.ContainerStatuses[0].ContainerID != kept {
			t.Error("a pod below its limit was started anew")
		}
	})
}

// TestAChangedConfigMapIsSeenWithinASecond measures from the write of the file to what a program in the container reads.
func TestAChangedConfigMapIsSeenWithinASecond(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	write := func(value int) {
		n.Write("conf.yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {value: \"%d\"}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: sec}\nstringData: {value: \"%d\"}\n", value, value))
	}
	write(0)
	quick := int64(1)
	// The container copies each new value out, looking a hundred times a second.
	p, _ := report(t, n, "reader", "true")
	p.Spec.TerminationGracePeriodSeconds = &quick
	p.Spec.Containers[0].Command = []string{"sh", "-c", `while :; do a=$(cat /c/value)$(cat /s/value); [ "$a" = "$b" ] || { echo "$a" >/out/t; mv /out/t "/out/saw-$a"; b=$a; }; usleep 10000; done`}
	p.Spec.Volumes = append(p.Spec.Volumes,
		v1.Volume{Name: "c", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "conf"}}}},
		v1.Volume{Name: "s", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "sec"}}})
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: "c", MountPath: "/c"}, v1.VolumeMount{Name: "s", MountPath: "/s"})
	n.Apply(p)
	out := filepath.Join(n.Dir, "out-reader")
	saw := func(value int) bool { return fileExists(filepath.Join(out, fmt.Sprintf("saw-%d%d", value, value))) }
	n.Eventually("the first value", func() string {
		if saw(0) {
			return ""
		}
		return node.Describe(n.Pod("reader"))
	})
	id := n.Pod("reader").Status.ContainerStatuses[0].ContainerID
	var slowest time.Duration
	for value := 1; value <= 5; value++ {
		began := time.Now()
		write(value)
		for !saw(value) && time.Since(began) < 10*time.Second {
			time.Sleep(5 * time.Millisecond)
		}
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest of five changes was seen after %s", slowest)
	if slowest > time.Second {
		t.Errorf("a change was seen after %s", slowest)
	}
	if p := n.Pod("reader"); p.Status.ContainerStatuses[0].ContainerID != id {
		t.Error("the container was started anew")
	}
	// With the annotation the pod is another one.
	p.Annotations = map[string]string{"agent.edgepod.dev/restart-on-config-change": "true"}
	n.Apply(p)
	n.Wait("reader", "running as another pod", func(p *v1.Pod) bool {
		return p != nil && node.Ready(p) && p.Status.ContainerStatuses[0].ContainerID != id
	})
	id = n.Pod("reader").Status.ContainerStatuses[0].ContainerID
	write(6)
	n.Wait("reader", "started anew by a change", func(p *v1.Pod) bool {
		return p != nil && node.Ready(p) && p.Status.ContainerStatuses[0].ContainerID != id
	})
	if err := os.RemoveAll(filepath.Join(n.Manifests(), "conf.yaml")); err != nil {
		t.Fatal(err)
	}
}
