package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"edgepod.dev/agent/manifests"
)

// TestWhoseAKillWas has no slice of the pod to read: it has counted no kill, and a container that expects one less has one.
func TestWhoseAKillWas(t *testing.T) {
	for _, tc := range []struct {
		name, expects string
		code          uint32
		known, want   bool
		after         string // what the container holds
		sibling       string // what the other container of the pod expects, from 0 on
	}{
		{"an event tells", "0", 137, true, true, toldOfKill, "1"},
		{"the pod's slice tells", "-1", 137, false, true, toldOfKill, "1"},
		{"a SIGKILL without a new kill is no want of memory", "0", 137, false, false, "0", "0"},
		{"who ended by itself was not killed", "-1", 1, false, false, "-1", "0"},
		{"what was told is not counted twice", toldOfKill, 137, true, true, toldOfKill, "0"},
		{"what was told stays told", toldOfKill, 137, false, true, toldOfKill, "0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &Runtime{cfg: Config{State: t.TempDir()}, cgroups: cgroups{systemd: true, unified: true}, index: newIndex()}
			key := manifests.Key{Namespace: "default", Name: "web"}
			for id, n := range map[string]string{"one": tc.expects, "other": "0"} {
				r.index.addContainer(key, id)
				if err := os.MkdirAll(r.containerState(id), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(r.containerState(id), killsFile), []byte(n), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.oomOfScope("there-is-no-such-pod", "one", tc.code, tc.known); got != tc.want {
				t.Errorf("killed for want of memory: %v, want %v", got, tc.want)
			}
			for id, want := range map[string]string{"one": tc.after, "other": tc.sibling} {
				if b, _ := os.ReadFile(filepath.Join(r.containerState(id), killsFile)); string(b) != want {
					t.Errorf("%s expects %q kills, want %q", id, b, want)
				}
			}
		})
	}
}
