package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	build "edgepod.dev/agent/contrib/image"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// A container that is restarted for years must not fill the disk.
func TestAnInstanceThatIsRemovedLeavesNothing(t *testing.T) {
	n := newTestNode(t)
	r := n.open(t)
	t.Cleanup(r.Close)
	p, first := runPod(t, r, "again", "echo hello; exec sleep 100000")
	ctx := t.Context()
	second := containerID(p.UID(), "app", 1)
	for _, err := range []error{
		r.Stop(ctx, first, 0), r.Seal(ctx, first),
		r.Start(ctx, p, podmgr.Instance{Container: "app", Attempt: 1}),
		r.Remove(ctx, first),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := errors.Join(r.Stop(ctx, second, 0), r.Remove(ctx, second)); err != nil {
			t.Error(err)
		}
	})
	t.Run("of its log", func(t *testing.T) {
		dir := filepath.Dir(logs.File(n.conf.PodLogs, p.Object.Namespace, p.Object.Name, p.UID(), "app", 0))
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if d := cmp.Diff([]string{"1.log"}, names); d != "" {
			t.Errorf("logs (-want +got):\n%s", d)
		}
	})
	t.Run("in the pod's lease", func(t *testing.T) {
		held, err := r.client.LeasesService().ListResources(r.ns(ctx), leases.Lease{ID: leaseID(p.UID())})
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, res := range held {
			has[res.ID] = true
		}
		if has[first] || !has[second] {
			t.Errorf("the lease holds the first instance: %t, the second: %t", has[first], has[second])
		}
	})
}

func TestAPodKeepsWhatItsTagsStandForNow(t *testing.T) {
	n := newTestNode(t)
	r := n.open(t)
	t.Cleanup(r.Close)
	p, id := runPod(t, r, "moving", "exec sleep 100000")
	ctx := r.ns(t.Context())
	held := func() map[string]bool {
		t.Helper()
		all, err := r.client.LeasesService().ListResources(ctx, leases.Lease{ID: leaseID(p.UID())})
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, res := range all {
			has[res.ID] = true
		}
		return has
	}
	old, err := r.images.forStart(ctx, testImage)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := build.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	spec.Config.Labels = map[string]string{"version": "2"}
	spec.Files = append(spec.Files, build.File{Path: "/version", Data: []byte("2")})
	img, err := build.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(n.dir, "next.tar")
	if err := build.Save(file, testImage, img, build.Docker); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Images().ImportFile(ctx, file); err != nil {
		t.Fatal(err)
	}
	if has := held(); !has[old.target.String()] || !has[old.chainID] {
		t.Fatalf("the lease holds %v", has)
	}
	if _, err := r.Pull(ctx, p, testImage, "Never"); err != nil {
		t.Fatal(err)
	}
	now, err := r.images.forStart(ctx, testImage)
	if err != nil {
		t.Fatal(err)
	}
	has := held()
	if has[old.target.String()] || has[old.chainID] {
		t.Errorf("the lease still holds what the tag stood for: %v", has)
	}
	if !has[now.target.String()] || !has[now.chainID] || !has[id] {
		t.Errorf("the lease does not hold what is in use: %v", has)
	}
	// The garbage collector takes the old one, and what runs on it goes on.
	if _, err := r.client.LeasesService().Create(ctx, leases.WithID("gone")); err != nil {
		t.Fatal(err)
	}
	if err := r.client.LeasesService().Delete(ctx, leases.Lease{ID: "gone"}, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.ContentStore().Info(ctx, old.target); !errdefs.IsNotFound(err) {
		t.Errorf("the old image is still there: %v", err)
	}
	if out, _, err := n.output(ctx, r, id, podmgr.Command{Args: []string{"cat", "/proc/1/cmdline"}}); err != nil || out == "" {
		t.Errorf("what runs of the old image: %q, %v", out, err)
	}
}
