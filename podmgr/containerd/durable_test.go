package containerd

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A pod directory whose file a power cut has emptied is removed with the pod's data, so the file has to be on the disk soon.
func TestAPodsFilesOutliveAPowerCut(t *testing.T) {
	image, root := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("truncate", "-s", "32M", image)
	run("mkfs.ext4", "-q", image)
	run("mount", "-o", "loop", image, root)
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	users := false
	p := &manifests.Pod{Object: &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"}, Spec: v1.PodSpec{HostUsers: &users}}}
	r := &Runtime{cfg: Config{Root: root}, index: newIndex()}
	ids, err := r.takeIDs(p)
	if err != nil {
		t.Fatal(err)
	}
	r.syncPodDir(p.UID())
	// What the engine's database does meanwhile brings names to the disk, but not what is in their files.
	f, err := os.Create(filepath.Join(root, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	const shutdown, withoutJournal = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, withoutJournal); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	run("umount", root)
	run("mount", "-o", "loop", image, root)
	kept, err := readPodFile(r.podDir(p.UID()))
	if err != nil || kept.Name != "web" {
		t.Errorf("the pod's file after a power cut: %+v, %v", kept, err)
	}
	if again, err := r.idsOf(p.UID()); again != ids || err != nil {
		t.Errorf("the pod's IDs were %d and are %d: %v", ids, again, err)
	}
}
