package e2e

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// TestASilentNFSServerDelaysItsPodAlone has a server that takes connections and never says a word. What becomes of the mount
// is the kernel's to say, which may have no NFS: the pod shows it, and the others run.
func TestASilentNFSServerDelaysItsPodAlone(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.9:2049")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	want := "the kernel of this node has no NFS"
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || strings.Contains(string(b), "\tnfs4\n") {
		want = "the server does not answer the mount"
	}
	n := embeddedOnly(t)
	n.Start()
	p := node.Pod("silent", node.Sleep)
	p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{NFS: &v1.NFSVolumeSource{Server: "127.0.0.9", Path: "/x"}}}}
	p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "v", MountPath: "/v"}}
	n.Apply(p, node.Pod("beside", node.Sleep))
	n.WaitRunning("beside")
	n.Within(60*time.Second, "a word about the mount", func() string {
		if out := n.MustAgent("describe", "pod", "silent"); !strings.Contains(out, want) {
			return out
		}
		return ""
	})
	n.Delete("silent", "beside")
	n.WaitClean()
}
