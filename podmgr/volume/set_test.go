package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

func TestAnEmptyDirIsMadeOnceAndLeftToThePod(t *testing.T) {
	for name, test := range map[string]struct{ spec, want string }{
		"for everybody": {"volumes: [{name: v, emptyDir: {}}]", "0777 0:0 dir"},
		"for a group":   {"securityContext: {fsGroup: 4711}\nvolumes: [{name: v, emptyDir: {}}]", "2777 0:4711 dir"},
	} {
		t.Run(name, func(t *testing.T) {
			defer unix.Umask(unix.Umask(0o077))
			s := setOf(t, place(t), test.spec, "")
			dir := ensure(t, s)["v"]
			if got := look(t, dir); got != test.want {
				t.Errorf("it is %s, want %s", got, test.want)
			}
			write(t, filepath.Join(dir, "f"), "kept")
			must(t, os.Chmod(dir, 0o711))
			if again := ensure(t, s)["v"]; again != dir || look(t, dir)[:4] != "0711" || look(t, filepath.Join(dir, "f"))[:4] != "0600" {
				t.Errorf("the second time it is %s: %s", again, look(t, dir))
			}
		})
	}
}

func TestAnEmptyDirThatWasCutOffWhileItWasMadeIsMade(t *testing.T) {
	s := setOf(t, place(t), "securityContext: {fsGroup: 4711}\nvolumes: [{name: v, emptyDir: {}}]", "")
	must(t, os.MkdirAll(s.Dirs.disk("v")+".new", 0o700))
	if got := look(t, ensure(t, s)["v"]); got != "2777 0:4711 dir" {
		t.Errorf("it is %s", got)
	}
}

func mountOf(t *testing.T, dir string) *mountinfo.Info {
	t.Helper()
	found, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d mounts at %s, %v", len(found), dir, err)
	}
	return found[0]
}

func TestAnEmptyDirInMemoryIsATmpfsOfItsSize(t *testing.T) {
	const container = "containers: [{name: a, resources: {limits: {memory: 64Mi}}}, {name: b, resources: {limits: {memory: 64Mi}}}]\n"
	for name, test := range map[string]struct{ spec, size string }{
		"the node's memory":              {"volumes: [{name: v, emptyDir: {medium: Memory}}]\ncontainers: [{name: a}]", "size=1048576k"},
		"the pod's limit":                {container + "volumes: [{name: v, emptyDir: {medium: Memory}}]", "size=131072k"},
		"its own limit":                  {container + "volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]", "size=1024k"},
		"a limit larger than the pod":    {container + "volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Gi}}]", "size=131072k"},
		"a limit of the whole pod":       {"resources: {limits: {memory: 32Mi}}\n" + container + "volumes: [{name: v, emptyDir: {medium: Memory}}]", "size=32768k"},
		"init containers beside sidecar": {"initContainers: [{name: s, restartPolicy: Always, resources: {limits: {memory: 1Mi}}}, {name: i, resources: {limits: {memory: 256Mi}}}]\n" + container + "volumes: [{name: v, emptyDir: {medium: Memory}}]", "size=263168k"},
	} {
		t.Run(name, func(t *testing.T) {
			s := setOf(t, place(t), "securityContext: {fsGroup: 4711}\n"+test.spec, "")
			dir := ensure(t, s)["v"]
			m := mountOf(t, dir)
			if m.FSType != "tmpfs" || !strings.Contains(","+m.VFSOptions+",", ","+test.size+",") {
				t.Errorf("it is a %s of %s, want %s", m.FSType, m.VFSOptions, test.size)
			}
			if got := look(t, dir); got != "3777 0:4711 dir" {
				t.Errorf("it is %s", got)
			}
			write(t, filepath.Join(dir, "f"), "kept")
			ensure(t, s)
			if mountOf(t, dir); !strings.HasSuffix(look(t, filepath.Join(dir, "f")), "kept") {
				t.Error("it was mounted again over what was in it")
			}
		})
	}
}

func TestAnEmptyDirOfHugePages(t *testing.T) {
	const two = "containers: [{name: a, resources: {requests: {hugepages-2Mi: 4Mi}}}, {name: b, resources: {requests: {hugepages-1Gi: 1Gi}}}]\n"
	for name, test := range map[string]struct{ spec, want, err string }{
		"of the only size": {"containers: [{name: a, resources: {requests: {hugepages-2Mi: 4Mi}}}]\nvolumes: [{name: v, emptyDir: {medium: HugePages}}]", "pagesize=2M", ""},
		"of a size":        {two + "volumes: [{name: v, emptyDir: {medium: HugePages-2Mi}}]", "pagesize=2M", ""},
		"of which size":    {two + "volumes: [{name: v, emptyDir: {medium: HugePages}}]", "", "can't be used if container requests multiple huge page sizes"},
		"without a request": {
			"containers: [{name: a}]\nvolumes: [{name: v, emptyDir: {medium: HugePages-2Mi}}]", "",
			`volume "v": medium HugePages-2Mi: hugePages storage requested, but there is no resource request for huge pages`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			paths, err := setOf(t, place(t), test.spec, "").Ensure(t.Context())
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if err == nil {
				if m := mountOf(t, paths["v"]); m.FSType != "hugetlbfs" || !strings.Contains(m.VFSOptions, test.want) {
					t.Errorf("it is a %s of %s", m.FSType, m.VFSOptions)
				}
			}
		})
	}
}

func TestTheHostPathIsCheckedAndReturned(t *testing.T) {
	d := place(t)
	dir := filepath.Join(filepath.Dir(d.Disk), "host")
	paths := ensure(t, setOf(t, d, "volumes: [{name: v, hostPath: {path: "+dir+", type: DirectoryOrCreate}}, {name: i, image: {reference: x}}]", ""))
	if diff := cmp.Diff(map[string]string{"v": dir}, paths); diff != "" || look(t, dir) != "0755 0:0 dir" {
		t.Errorf("%s; it is %s", diff, look(t, dir))
	}
	_, err := setOf(t, d, "volumes: [{name: v, hostPath: {path: "+dir+", type: File}}]", "").Ensure(t.Context())
	if err == nil || !strings.Contains(err.Error(), "is not an existing regular file") {
		t.Errorf("error %v", err)
	}
}

func TestWhatNeedsAServerOrADriverIsRefusedByName(t *testing.T) {
	for _, r := range manifests.RefusedVolumes() {
		s := setOf(t, place(t), "volumes: [{name: v, "+r.Kind+": {}}]", "")
		if _, err := s.Ensure(t.Context()); err == nil || err.Error() != `volume "v": `+r.Kind+" is not supported: "+r.Reason {
			t.Errorf("%s: error %v", r.Kind, err)
		}
	}
}

func TestNFSIsRefusedPolitelyWhereItCannotBe(t *testing.T) {
	s := setOf(t, place(t), "volumes: [{name: v, nfs: {server: 127.0.0.1, path: /x}}]", "")
	_, err := s.Ensure(t.Context())
	if err == nil || !strings.Contains(err.Error(), `volume "v": asking the NFS server 127.0.0.1`) {
		t.Errorf("error %v", err)
	}
}

func TestOptionsOfAMount(t *testing.T) {
	propagation := func(p v1.MountPropagationMode) *v1.MountPropagationMode { return &p }
	recursive := func(r v1.RecursiveReadOnlyMode) *v1.RecursiveReadOnlyMode { return &r }
	disk, secret := v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}, v1.VolumeSource{Secret: &v1.SecretVolumeSource{}}
	for name, test := range map[string]struct {
		v    v1.VolumeSource
		m    v1.VolumeMount
		old  bool // the kernel does not know recursively read-only mounts
		want string
		err  string
	}{
		"plain":             {v: disk, want: "rbind rprivate rw"},
		"none":              {v: disk, m: v1.VolumeMount{MountPropagation: propagation(v1.MountPropagationNone)}, want: "rbind rprivate rw"},
		"host to container": {v: disk, m: v1.VolumeMount{MountPropagation: propagation(v1.MountPropagationHostToContainer)}, want: "rbind rslave rw"},
		"bidirectional":     {v: disk, m: v1.VolumeMount{MountPropagation: propagation(v1.MountPropagationBidirectional), ReadOnly: true}, want: "rbind rshared ro"},
		"unknown":           {v: disk, m: v1.VolumeMount{MountPropagation: propagation("x")}, err: `invalid MountPropagation mode: "x"`},
		"read-only":         {v: disk, m: v1.VolumeMount{ReadOnly: true}, want: "rbind rprivate ro"},
		"a secret":          {v: secret, want: "rbind rprivate ro"},
		"a read-only nfs":   {v: v1.VolumeSource{NFS: &v1.NFSVolumeSource{ReadOnly: true}}, want: "rbind rprivate ro"},
		"recursively":       {v: disk, m: v1.VolumeMount{ReadOnly: true, RecursiveReadOnly: recursive(v1.RecursiveReadOnlyEnabled)}, want: "rbind rprivate rro"},
		"if possible":       {v: disk, m: v1.VolumeMount{ReadOnly: true, RecursiveReadOnly: recursive(v1.RecursiveReadOnlyIfPossible)}, want: "rbind rprivate rro"},
		"if it were":        {v: disk, old: true, m: v1.VolumeMount{ReadOnly: true, RecursiveReadOnly: recursive(v1.RecursiveReadOnlyIfPossible)}, want: "rbind rprivate ro"},
		"not possible":      {v: disk, old: true, m: v1.VolumeMount{Name: "v", ReadOnly: true, RecursiveReadOnly: recursive(v1.RecursiveReadOnlyEnabled)}, err: `volume "v" requested recursive read-only mode, but it is not supported`},
		"disabled":          {v: disk, m: v1.VolumeMount{RecursiveReadOnly: recursive(v1.RecursiveReadOnlyDisabled)}, want: "rbind rprivate rw"},
		"but not read-only": {v: disk, m: v1.VolumeMount{RecursiveReadOnly: recursive(v1.RecursiveReadOnlyEnabled)}, err: "but it is not read-only"},
		"but propagated":    {v: disk, m: v1.VolumeMount{ReadOnly: true, RecursiveReadOnly: recursive(v1.RecursiveReadOnlyEnabled), MountPropagation: propagation(v1.MountPropagationHostToContainer)}, err: "not compatible with propagation"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Options(&manifests.Pod{}, &v1.Volume{VolumeSource: test.v}, &test.m, !test.old)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
	var uts unix.Utsname
	if must(t, unix.Uname(&uts)); uts.Release[0] >= '6' && !RecursiveReadOnly() {
		t.Error("this kernel knows recursively read-only mounts")
	}
}
