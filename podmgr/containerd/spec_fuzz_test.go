package containerd

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
)

// FuzzSpec builds the spec of a container from any image configuration, user files and security context, and holds what
// came out against what an image may never do.
func FuzzSpec(f *testing.F) {
	passwd := "root:x:0:0::/:\nalice:x:1000:1000::/:\nbig:x:4294967295:1::/:\n"
	group := "root:x:0:\nalice:x:1000:\nwheel:x:10:alice\nhuge:x:4294967296:alice\n"
	for _, config := range []string{
		`{}`, `{"User":"alice"}`, `{"User":"4294967296"}`, `{"User":"-1:-1"}`, `{"User":"../../etc/shadow"}`, `{"User":"big:huge"}`, `{"User":"0:wheel"}`,
		`{"Env":["PATH=..","A","=b","A=\u0000","HOSTNAME=x","A=1","A=2"],"Entrypoint":["/bin/sh"],"Cmd":["-c","exit"]}`,
		`{"WorkingDir":"/proc/self/fd/8"}`, `{"WorkingDir":"dev//fd/8"}`, `{"WorkingDir":"../../../proc/../sys"}`, `{"WorkingDir":"a/../.."}`,
		`{"Volumes":{"/data":{},"../x":{},"/proc/1":{}},"Labels":{"io.containerd.runc.v2.group":"other","io.kubernetes.pod.uid":"1"},"StopSignal":"9999"}`,
	} {
		f.Add([]byte(config), []byte(passwd), []byte(group), `{}`)
		f.Add([]byte(config), []byte(passwd), []byte(group), `{"runAsUser":1000,"runAsNonRoot":true,"capabilities":{"add":["NET_ADMIN"],"drop":["ALL"]},"readOnlyRootFilesystem":true}`)
		f.Add([]byte(config), []byte(passwd), []byte(group), `{"privileged":true,"seccompProfile":{"type":"Unconfined"}}`)
		f.Add([]byte(config), []byte(passwd), []byte(group), `{"runAsNonRoot":true,"procMount":"Unmasked","allowPrivilegeEscalation":false,"capabilities":{"add":["ALL"]}}`)
	}
	f.Fuzz(func(t *testing.T, config, passwd, group []byte, security string) {
		img := &image{passwd: passwd, group: group}
		if json.Unmarshal(config, &img.config) != nil || checkImageConfig(&img.config) != nil {
			return
		}
		c := &v1.Container{Name: "app", SecurityContext: &v1.SecurityContext{}}
		if json.Unmarshal([]byte(security), c.SecurityContext) != nil {
			return
		}
		p := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{*c}}}
		user, gid := runAs(p, c)
		if user != nil && (*user < 0 || *user > maxID) || gid != nil && (*gid < 0 || *gid > maxID) {
			return // the API's validation refuses it
		}
		who, err := img.resolveUser(user, gid, false)
		if err != nil || checkNonRoot(p, c, who) != nil {
			return
		}
		sb := sandboxView{
			dir: "/state/pods/uid", group: "agent-uid", hostname: "h", own: wantedNamespaces{net: true, ipc: true, uts: true},
			cgroup: "/kubepods/c", confine: confinement{seccomp: true}, env: []manifests.EnvVar{{Name: "FROM", Value: "manifest"}},
		}
		s, err := containerSpec(p, c, img, who, sb)
		if err != nil {
			return
		}
		if wrong := wrongWithSpec(s, c, img.config, who); wrong != "" {
			t.Errorf("%s\nconfiguration %s\nsecurity context %s", wrong, config, security)
		}
	})
}

// wrongWithSpec says what an image got into a spec that it may not.
func wrongWithSpec(s *specs.Spec, c *v1.Container, config ocispec.ImageConfig, who identityOf) string {
	sc := c.SecurityContext
	privileged := isPrivileged(c)
	is := func(b *bool) bool { return b != nil && *b }
	switch {
	case len(s.Annotations) != 1 || s.Annotations[shimGroup] != "agent-uid":
		return fmt.Sprintf("annotations %v", s.Annotations)
	case s.Hooks != nil || s.Root.Path != "rootfs":
		return "hooks, or another root"
	case s.Process.User.UID != who.uid || who.uid > maxID || who.gid > maxID || slices.ContainsFunc(who.groups, func(g uint32) bool { return g > maxID }):
		return fmt.Sprintf("user %+v", s.Process.User)
	case sc.RunAsUser != nil && int64(who.uid) != *sc.RunAsUser:
		return "another user than runAsUser"
	case is(sc.RunAsNonRoot) && who.uid == 0:
		return "root in spite of runAsNonRoot"
	case !path.IsAbs(s.Process.Cwd) || path.Clean(s.Process.Cwd) != s.Process.Cwd || outsideDir(s.Process.Cwd) != "":
		return "working directory " + s.Process.Cwd
	case len(s.Process.Args) == 0 || s.Process.Args[0] == "" || len(s.Process.Args) > 2*maxImageArgs:
		return fmt.Sprintf("%d arguments", len(s.Process.Args))
	case !slices.Contains(s.Process.Env, "FROM=manifest"):
		return "the manifest's environment is not there"
	case !privileged && s.Process.Capabilities != nil && !capsWithin(s.Process.Capabilities, capabilities(sc.Capabilities)):
		return fmt.Sprintf("capabilities %v", s.Process.Capabilities)
	case !privileged && s.Linux.Seccomp == nil && (sc.SeccompProfile == nil || sc.SeccompProfile.Type != v1.SeccompProfileTypeUnconfined):
		return "no seccomp"
	case !privileged && (sc.ProcMount == nil || *sc.ProcMount != v1.UnmaskedProcMount) && (len(s.Linux.MaskedPaths) < 12 || len(s.Linux.ReadonlyPaths) < 5):
		return "unmasked paths"
	case !privileged && is(sc.ReadOnlyRootFilesystem) && !s.Root.Readonly:
		return "a writable root"
	case !privileged && sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation && !s.Process.NoNewPrivileges:
		return "privileges can be gained"
	case !privileged && (len(s.Linux.Devices) > 0 || len(s.Linux.Resources.Devices) != 1 || s.Linux.Resources.Devices[0].Allow):
		return "devices"
	}
	names := map[string]bool{}
	for _, e := range s.Process.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || names[name] || strings.ContainsRune(e, 0) {
			return fmt.Sprintf("environment %q", e)
		}
		names[name] = true
	}
	for _, a := range s.Process.Args {
		if strings.ContainsRune(a, 0) {
			return "a NUL among the arguments"
		}
	}
	for _, m := range s.Mounts {
		if m.Type == "bind" && !strings.HasPrefix(m.Source, "/state/") {
			return fmt.Sprintf("a mount of %s", m.Source)
		}
		if _, ok := config.Volumes[m.Destination]; ok && m.Source != "" && !strings.HasPrefix(m.Source, "/state/") && m.Type == "bind" {
			return "a volume of the image"
		}
	}
	return ""
}

func capsWithin(got *specs.LinuxCapabilities, allowed []string) bool {
	for _, list := range [][]string{got.Bounding, got.Effective, got.Permitted, got.Inheritable, got.Ambient} {
		for _, c := range list {
			if !slices.Contains(allowed, c) {
				return false
			}
		}
	}
	return true
}

// FuzzUsers reads any user files: no panic, nothing out of bounds, and never root for a name that is not there.
func FuzzUsers(f *testing.F) {
	f.Add([]byte("root:x:0:0::/:\n"), []byte("root:x:0:\n"), "root")
	f.Add([]byte("a:x:99999999999999999999:0::/:\n"), []byte("g:x:-5:a\n"), "a:g")
	f.Add([]byte("::::::\n\x00:x:0:0"), []byte(":::,,,\n"), "\x00")
	f.Add([]byte("+:x:0:0:\n"), []byte("+:::\n"), "+5:+6")
	f.Fuzz(func(t *testing.T, passwd, group []byte, user string) {
		img := &image{passwd: passwd, group: group, config: ocispec.ImageConfig{User: user}}
		who, err := img.resolveUser(nil, nil, false)
		if err != nil {
			return
		}
		if who.uid > maxID || who.gid > maxID || len(who.groups) > maxGroups+1 {
			t.Errorf("user %q is %+v", user, who)
		}
		if who.byName != "" && !strings.Contains(string(passwd), who.byName+":") {
			t.Errorf("user %q was found in %q", user, passwd)
		}
	})
}
