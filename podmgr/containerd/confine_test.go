package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

func TestSeccompProfilesAreReadBelowTheirDirectoryOnly(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, seccompDir)
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`
	write("seccomp/good.json", good)
	write("seccomp/sub/good.json", good)
	write("seccomp/broken.json", "{")
	write("seccomp/empty.json", "{}")
	write("seccomp/large.json", good+strings.Repeat(" ", maxSeccompProfile))
	write("outside.json", good)
	for link, to := range map[string]string{"out.json": "../outside.json", "abs.json": filepath.Join(root, "outside.json"), "in.json": "sub/good.json"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	local := func(name string) *v1.SeccompProfile {
		return &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost, LocalhostProfile: &name}
	}
	for _, c := range []struct {
		name    string
		profile *v1.SeccompProfile
		off     bool // the kernel has no seccomp
		want    string
		loaded  bool
	}{
		{name: "none given"},
		{name: "RuntimeDefault", profile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeRuntimeDefault}},
		{name: "Unconfined", profile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeUnconfined}},
		{name: "a profile", profile: local("good.json"), loaded: true},
		{name: "a profile in a directory", profile: local("sub/good.json"), loaded: true},
		{name: "a link that stays inside", profile: local("in.json"), loaded: true},
		{name: "no path", profile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost}, want: "localhostProfile must be set"},
		{name: "an empty path", profile: local(""), want: "localhostProfile must be set"},
		{name: "a path up", profile: local("../outside.json"), want: "leads out of"},
		{name: "an absolute path", profile: local("/etc/passwd"), want: "leads out of"},
		{name: "a link up", profile: local("out.json"), want: "cannot load seccomp profile"},
		{name: "an absolute link", profile: local("abs.json"), want: "cannot load seccomp profile"},
		{name: "a file that is not there", profile: local("missing.json"), want: filepath.Join(dir, "missing.json")},
		{name: "a directory", profile: local("sub"), want: "cannot load seccomp profile"},
		{name: "a file that is too large", profile: local("large.json"), want: "cannot load seccomp profile"},
		{name: "no JSON", profile: local("broken.json"), want: "decoding seccomp profile"},
		{name: "no default action", profile: local("empty.json"), want: "it has no defaultAction"},
		{name: "a kernel without seccomp", profile: local("good.json"), off: true, want: "seccomp is not supported"},
		{name: "an unknown type", profile: &v1.SeccompProfile{Type: "Other"}, want: "is not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := confinement{seccomp: !c.off}
			err := x.setSeccomp(dir, c.profile)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			if (x.localSeccomp != nil) != c.loaded {
				t.Errorf("loaded: %v, want %v", x.localSeccomp != nil, c.loaded)
			}
		})
	}
}

func TestAppArmorIsRefusedWhereTheKernelHasNone(t *testing.T) {
	name := "mine"
	for _, c := range []struct {
		name    string
		profile *v1.AppArmorProfile
		refused bool
	}{
		{"nothing asked for", nil, false},
		{"unconfined", &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeUnconfined}, false},
		{"the default", &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeRuntimeDefault}, true},
		{"a profile of the node", &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := confinement{}
			if err := x.setAppArmor(c.profile, false); (err != nil) != c.refused || x.appArmor != "" {
				t.Errorf("got profile %q and %v", x.appArmor, err)
			}
			p := &v1.Pod{Spec: v1.PodSpec{SecurityContext: &v1.PodSecurityContext{AppArmorProfile: c.profile}}}
			if needsAppArmor(p) != c.refused {
				t.Errorf("the pod needs AppArmor: %v", !c.refused)
			}
		})
	}
}

func TestTheAppArmorProfileOfAContainer(t *testing.T) {
	typed := func(k v1.AppArmorProfileType, name string) *v1.AppArmorProfile {
		return &v1.AppArmorProfile{Type: k, LocalhostProfile: &name}
	}
	p := &v1.Pod{Spec: v1.PodSpec{SecurityContext: &v1.PodSecurityContext{AppArmorProfile: typed("Localhost", "pods")}}}
	p.Annotations = map[string]string{
		"container.apparmor.security.beta.kubernetes.io/local":   "localhost/annotated",
		"container.apparmor.security.beta.kubernetes.io/free":    "unconfined",
		"container.apparmor.security.beta.kubernetes.io/default": "runtime/default",
		"container.apparmor.security.beta.kubernetes.io/own":     "localhost/annotated",
	}
	own := &v1.SecurityContext{AppArmorProfile: typed("Localhost", "own")}
	for _, c := range []struct {
		container v1.Container
		kind      v1.AppArmorProfileType
		name      string
	}{
		{v1.Container{Name: "own", SecurityContext: own}, "Localhost", "own"},
		{v1.Container{Name: "local"}, "Localhost", "annotated"},
		{v1.Container{Name: "free"}, "Unconfined", ""},
		{v1.Container{Name: "default"}, "RuntimeDefault", ""},
		{v1.Container{Name: "other"}, "Localhost", "pods"},
	} {
		got := appArmorProfile(p, &c.container)
		name := ""
		if got != nil && got.LocalhostProfile != nil {
			name = *got.LocalhostProfile
		}
		if got == nil || got.Type != c.kind || name != c.name {
			t.Errorf("container %s: %v %q, want %s %q", c.container.Name, got, name, c.kind, c.name)
		}
	}
	const list = "docker-default (enforce)\nwith space (complain)\n"
	for name, want := range map[string]bool{"docker-default": true, "with space": true, "docker": false, "": false, "docker-default (enforce)": false} {
		if profileLoaded(list, name) != want {
			t.Errorf("profile %q loaded: %v", name, !want)
		}
	}
}

func TestTheLabelsAndProfilesGoIntoTheSpec(t *testing.T) {
	sb := sandboxView{confine: confinement{
		seccomp: true, appArmor: "a", processLabel: "p", mountLabel: "m", localSeccomp: &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_LOG"},
	}}
	p := &v1.Pod{}
	s, err := containerSpec(p, &v1.Container{Command: []string{"x"}}, &image{}, identityOf{}, sb)
	if err != nil {
		t.Fatal(err)
	}
	if s.Process.ApparmorProfile != "a" || s.Process.SelinuxLabel != "p" || s.Linux.MountLabel != "m" || s.Linux.Seccomp.DefaultAction != "SCMP_ACT_LOG" {
		t.Errorf("the spec has AppArmor %q, SELinux %q and %q, seccomp %q", s.Process.ApparmorProfile, s.Process.SelinuxLabel,
			s.Linux.MountLabel, s.Linux.Seccomp.DefaultAction)
	}
}
