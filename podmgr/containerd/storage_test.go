package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	kyaml "sigs.k8s.io/yaml"
)

func TestLimitsOnTheDiskAreReadAsTheKubeletReadsThem(t *testing.T) {
	for name, test := range map[string]struct{ spec, want string }{
		"none": {"volumes: [{name: a, emptyDir: {}}, {name: m, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]\ncontainers: [{name: c}]", "pod - a"},
		"a volume": {
			"volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}, {name: b, emptyDir: {sizeLimit: 0}}]", "pod - a b; volume a 1Mi",
		},
		"containers": {
			`containers: [{name: c, resources: {limits: {ephemeral-storage: 1Gi}}}, {name: d, resources: {limits: {ephemeral-storage: 2Gi}}}, {name: e}]
initContainers: [{name: i, resources: {limits: {ephemeral-storage: 2Gi}}}, {name: s, restartPolicy: Always, resources: {limits: {ephemeral-storage: 1Gi}}}]`,
			"pod 4Gi; container c 1Gi; container d 2Gi; container i 2Gi; container s 1Gi",
		},
		"an init container's is more": {
			`containers: [{name: c, resources: {limits: {ephemeral-storage: 1Gi}}}]
initContainers: [{name: i, resources: {limits: {ephemeral-storage: 2Gi}}}]`,
			"pod 2Gi; container c 1Gi; container i 2Gi",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &v1.Pod{}
			if err := kyaml.UnmarshalStrict([]byte(test.spec), &p.Spec); err != nil {
				t.Fatal(err)
			}
			l := storageLimitsOf(p)
			got := "pod -"
			if l.pod != nil {
				got = "pod " + l.pod.String()
			}
			for _, d := range l.disks {
				got += " " + d
			}
			for _, v := range []string{"a", "b", "m"} {
				if q, ok := l.volumes[v]; ok {
					got += "; volume " + v + " " + q.String()
				}
			}
			for _, c := range []string{"c", "d", "e", "i", "s"} {
				if q, ok := l.containers[c]; ok {
					got += "; container " + c + " " + q.String()
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUsageOfADirectoryCountsBlocksOnceAndFollowsNoLink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write := func(path string, size int) {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before, err := diskUsage(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "a"), 1<<20)
	write(filepath.Join(elsewhere, "big"), 8<<20)
	for _, err := range []error{
		os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "again")),
		os.Symlink(elsewhere, filepath.Join(dir, "out")),
		os.Symlink(filepath.Join(elsewhere, "big"), filepath.Join(dir, "file")),
		os.Truncate(filepath.Join(dir, "a"), 64<<20), // a hole takes no blocks
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	after, err := diskUsage(t.Context(), dir)
	if grown := after - before; err != nil || grown < 1<<20 || grown > 1<<20+64<<10 {
		t.Errorf("it has grown by %d bytes, error %v", grown, err)
	}
	if n, err := diskUsage(t.Context(), filepath.Join(dir, "none")); n != 0 || err != nil {
		t.Errorf("what is not there takes %d, error %v", n, err)
	}
}
