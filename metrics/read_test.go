package metrics

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	info "github.com/google/cadvisor/lib/model"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestTheCgroupTreeIsRead in both layouts of the kubelet.
func TestTheCgroupTreeIsRead(t *testing.T) {
	const uid = "0f1e2d3c-0000-8000-8000-000000000001"
	const slice = "0f1e2d3c_0000_8000_8000_000000000001"
	for name, c := range map[string]struct {
		root string
		dirs []string
		want []cgroupEntry
	}{
		"cgroupfs": {
			"/edge",
			[]string{"edge/kubepods/pod" + uid + "/" + hexID(1), "edge/kubepods/besteffort/podu2/" + hexID(2) + "/init.scope", "kubepods/podforeign", "edge/other"},
			[]cgroupEntry{
				{name: "/edge/kubepods"},
				{name: "/edge/kubepods/besteffort"},
				{name: "/edge/kubepods/besteffort/podu2", kind: kindPod, id: "u2", pod: "u2"},
				{name: "/edge/kubepods/besteffort/podu2/" + hexID(2), kind: kindContainer, id: hexID(2), pod: "u2"},
				{name: "/edge/kubepods/pod" + uid, kind: kindPod, id: uid, pod: uid},
				{name: "/edge/kubepods/pod" + uid + "/" + hexID(1), kind: kindContainer, id: hexID(1), pod: uid},
			},
		},
		"systemd": {
			"",
			[]string{"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice + ".slice/cri-containerd-" + hexID(1) + ".scope"},
			[]cgroupEntry{
				{name: "/kubepods.slice"},
				{name: "/kubepods.slice/kubepods-burstable.slice"},
				{name: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice + ".slice", kind: kindPod, id: uid, pod: uid},
				{name: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice + ".slice/cri-containerd-" + hexID(1) + ".scope", kind: kindContainer, id: hexID(1), pod: uid},
			},
		},
		"none": {"/edge", []string{"system.slice"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			mount := t.TempDir()
			for _, d := range c.dirs {
				if err := os.MkdirAll(filepath.Join(mount, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, newCgroupTree(mount, c.root).list(), cmp.AllowUnexported(cgroupEntry{})); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

// TestACgroupIsPopulated when a process is in it or below it, on v1 and v2.
func TestACgroupIsPopulated(t *testing.T) {
	mount := t.TempDir()
	for file, content := range map[string]string{
		"v1/cgroup.procs": "12\n", "v1empty/cgroup.procs": "", "v1below/cgroup.procs": "", "v1below/x/cgroup.procs": "7\n",
		"v2/cgroup.events": "populated 1\nfrozen 0\n", "v2empty/cgroup.events": "populated 0\nfrozen 0\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(mount, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mount, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"/v1": true, "/v1empty": false, "/v1below": true, "/v2": true, "/v2empty": false, "/gone": false} {
		if have := newCgroupTree(mount, "").populated(name); have != want {
			t.Errorf("%s: %v, want %v", name, have, want)
		}
	}
}

func TestPressureIsParsed(t *testing.T) {
	have := parsePressure("some avg10=60.07 avg60=66.05 avg300=50.60 total=859721837\nfull avg10=0.01 avg60=0.02 avg300=0.03 total=4\n")
	want := info.PSIStats{
		Some: info.PSIData{Avg10: 60.07, Avg60: 66.05, Avg300: 50.60, Total: 859721837},
		Full: info.PSIData{Avg10: 0.01, Avg60: 0.02, Avg300: 0.03, Total: 4},
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	for _, odd := range []string{"", "\n", "some", "some avg10", "other total=x\n"} {
		if have := parsePressure(odd); have != (info.PSIStats{}) {
			t.Errorf("%q is read as %v", odd, have)
		}
	}
}

// TestOOMKillsAreKept across the instances of a pod's containers.
func TestOOMKillsAreKept(t *testing.T) {
	type seen = map[string]map[string]uint64
	type killed = map[string][]string
	type look struct {
		seen   seen
		killed killed
		want   map[string]uint64
	}
	alive := killed{"p": {}}
	for name, looks := range map[string][]look{
		"the kernel's counters are added up": {
			{seen{"p": {"a": 1, "b": 2}}, alive, map[string]uint64{"p": 3}},
		},
		"a count stays when its cgroup goes": {
			{seen{"p": {"a": 2}}, alive, map[string]uint64{"p": 2}},
			{seen{"p": {"b": 0}}, alive, map[string]uint64{"p": 2}},
			{seen{"p": {"b": 1}}, alive, map[string]uint64{"p": 3}},
		},
		"a kill that only the status tells of counts once": {
			{seen{"p": {"a": 0}}, alive, map[string]uint64{"p": 0}},
			{seen{}, killed{"p": {"a"}}, map[string]uint64{"p": 1}},
			{seen{"p": {"b": 0}}, killed{"p": {"a"}}, map[string]uint64{"p": 1}},
			{seen{"p": {"c": 0}}, killed{"p": {"b"}}, map[string]uint64{"p": 2}},
		},
		"a kill that kernel and status tell of counts once": {
			{seen{"p": {"a": 1}}, killed{"p": {"a"}}, map[string]uint64{"p": 1}},
		},
		"a pod that is gone is forgotten": {
			{seen{"p": {"a": 2}}, alive, map[string]uint64{"p": 2}},
			{seen{}, killed{}, map[string]uint64{}},
			{seen{"p": {"b": 0}}, alive, map[string]uint64{"p": 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var l oomLedger
			for i, x := range looks {
				have := l.update(x.seen, x.killed)
				if diff := cmp.Diff(x.want, have); diff != "" {
					t.Errorf("look %d (-want +have):\n%s", i+1, diff)
				}
			}
		})
	}
}

// TestDuAddsUpBlocks of what lies on the same filesystem, each inode once.
func TestDuAddsUpBlocks(t *testing.T) {
	dir := diskDir(t)
	writeBytes(t, dir+"/a/big", 1<<20)
	writeBytes(t, dir+"/a/b/small", 1)
	if err := errors.Join(os.Link(dir+"/a/big", dir+"/again"), os.Symlink("/etc", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * duBatch {
		writeBytes(t, filepath.Join(dir, "many", hexID(i)), 0)
	}
	sparse, err := os.Create(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sparse.Truncate(1<<30), sparse.Close(), os.Mkdir(dir+"/other", 0o755), unix.Mount("tmpfs", dir+"/other", "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir+"/other", 0) })
	writeBytes(t, dir+"/other/elsewhere", 8<<20)

	have, err := du(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	// dir, a, a/b, many, big, small, link, sparse, and the many
	if want := uint64(8 + 3*duBatch); have.inodes != want {
		t.Errorf("%d inodes, want %d", have.inodes, want)
	}
	if have.bytes < 1<<20 || have.bytes > 1<<20+256<<10 {
		t.Errorf("%d bytes, want 1 MiB and some directories", have.bytes)
	}
	if _, err := du(context.Background(), dir+"/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := du(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("when cancelled: %v", err)
	}
}

// TestImageSizesAreTheKubeletsBuckets holds the borders.
func TestImageSizesAreTheKubeletsBuckets(t *testing.T) {
	const mb, gb = int64(1 << 20), int64(1 << 30)
	for size, want := range map[int64]string{
		0: "N/A", 1: "0-10MB", 10 * mb: "0-10MB", 10*mb + 1: "10MB-100MB", 100*mb + 1: "100MB-500MB", gb: "500MB-1GB",
		5*gb + 1: "5GB-10GB", 100 * gb: "60GB-100GB", 100*gb + 1: "GT100GB",
	} {
		if have := sizeBucket(size); have != want {
			t.Errorf("%d bytes are %s, want %s", size, have, want)
		}
	}
}
