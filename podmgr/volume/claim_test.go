package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// claimed is a pod of an API server whose volume data is a claim that was resolved to c.
func claimed(t *testing.T, d Dirs, security string, c manifests.Claim) Set {
	t.Helper()
	s := setOf(t, d, "volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]\n"+security, "")
	s.Pod = manifests.BindGranted(s.Pod, nil, manifests.Grant{Claims: map[string]manifests.Claim{"data": c}})
	return s
}

func TestAClaimIsWhatTheSourceFoundBehindIt(t *testing.T) {
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "f"), nil, 0o600))
	local := &v1.LocalVolumeSource{Path: host}
	for name, test := range map[string]struct {
		claim    manifests.Claim
		in, err  string
		readOnly bool
	}{
		"hostPath":       {claim: manifests.Claim{HostPath: &v1.HostPathVolumeSource{Path: host}}, in: host},
		"local":          {claim: manifests.Claim{Local: local}, in: "mounts/data"},
		"read-only":      {claim: manifests.Claim{Local: local, ReadOnly: true}, in: "mounts/data", readOnly: true},
		"not bound":      {claim: manifests.Claim{Problem: `persistentvolumeclaim "c" is not bound`}, err: `volume "data": persistentvolumeclaim "c" is not bound`},
		"a file":         {claim: manifests.Claim{Local: &v1.LocalVolumeSource{Path: filepath.Join(host, "f")}}, err: "is no directory"},
		"not there":      {claim: manifests.Claim{Local: &v1.LocalVolumeSource{Path: filepath.Join(host, "x")}}, err: "no such file"},
		"nfs, read-only": {claim: manifests.Claim{NFS: &v1.NFSVolumeSource{Server: "127.0.0.1", Path: "/x", ReadOnly: true}}, readOnly: true, err: "asking the NFS server"},
	} {
		t.Run(name, func(t *testing.T) {
			s := claimed(t, place(t), "", test.claim)
			paths, err := s.Ensure(t.Context())
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if !strings.HasSuffix(paths["data"], test.in) {
				t.Errorf("it is at %s", paths["data"])
			}
			if manifests.VolumeReadOnly(s.Pod, s.volume("data")) != test.readOnly {
				t.Error("it is writable, or read-only, and should not be")
			}
			if err == nil {
				if _, err := os.Stat(filepath.Join(paths["data"], "f")); err != nil {
					t.Error(err)
				}
				if _, err := s.Ensure(t.Context()); err != nil {
					t.Errorf("a second time: %v", err)
				}
			}
		})
	}
	t.Run("what the pod leaves", func(t *testing.T) {
		d := place(t)
		_, err := claimed(t, d, "", manifests.Claim{Local: local}).Ensure(t.Context())
		must(t, err)
		must(t, Remove(t.Context(), d))
		if _, err := os.Stat(filepath.Join(host, "f")); err != nil {
			t.Errorf("the storage was deleted with the pod: %v", err)
		}
	})
}

func TestLocalStorageIsGivenToTheGroupAsItsPolicySays(t *testing.T) {
	const group = 4711
	for name, test := range map[string]struct {
		security string
		want     uint32
	}{
		"Always":         {"securityContext: {fsGroup: 4711}", group},
		"OnRootMismatch": {"securityContext: {fsGroup: 4711, fsGroupChangePolicy: OnRootMismatch}", 0},
	} {
		t.Run(name, func(t *testing.T) {
			host := t.TempDir() // its root is the group's already, what is in it is not
			must(t, os.WriteFile(filepath.Join(host, "f"), nil, 0o600))
			must(t, os.Chown(host, 0, group))
			must(t, os.Chmod(host, 0o775|os.ModeSetgid))
			_, err := claimed(t, place(t), test.security, manifests.Claim{Local: &v1.LocalVolumeSource{Path: host}}).Ensure(t.Context())
			must(t, err)
			var st unix.Stat_t
			if must(t, unix.Stat(filepath.Join(host, "f"), &st)); st.Gid != test.want {
				t.Errorf("the file belongs to group %d, want %d", st.Gid, test.want)
			}
		})
	}
}

func TestATokenIsAFileOfItsUser(t *testing.T) {
	const spec = `
containers: [{name: a, image: x, securityContext: {runAsUser: 1234}}]
volumes: [{name: api, projected: {sources: [{serviceAccountToken: {path: token}}]}}]`
	token := func(s Set, text string) Set {
		s.Pod = manifests.BindGranted(s.Pod, nil, manifests.Grant{
			Files: map[manifests.FileKey][]byte{{Volume: "api", Path: "token"}: []byte(text)},
		})
		return s
	}
	s := setOf(t, place(t), spec, "")
	paths, err := token(s, "one").Ensure(t.Context())
	must(t, err)
	must(t, token(s, "two").Refresh(t.Context()))
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(paths["api"], "token"), &st))
	b, err := os.ReadFile(filepath.Join(paths["api"], "token"))
	if must(t, err); string(b) != "two" || st.Uid != 1234 || st.Mode&0o777 != 0o600 {
		t.Errorf("it is %q of user %d with mode %o", b, st.Uid, st.Mode&0o777)
	}
}
