package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/containerd/containerd/v2/core/leases"
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
