package containerd

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
)

// TestWhoseAKillWas writes what the kernel counts: the pod's slice is a directory of the test.
func TestWhoseAKillWas(t *testing.T) {
	began := time.Now()
	for _, tc := range []struct {
		name, expects string
		code          uint32
		known, want   bool
		kills         int       // in the pod's slice
		otherStarted  time.Time // of the pod's other container
		after, other  string    // what both expect then; the other did 0
	}{
		{"an event tells", "0", 137, true, true, 1, began, toldOfKill, "1"},
		{"the pod's slice tells", "0", 137, false, true, 1, began, toldOfKill, "1"},
		{"who started after the kill has counted it", "0", 137, false, true, 1, began.Add(time.Hour), toldOfKill, "0"},
		{"a SIGKILL without a new kill is no want of memory", "2", 137, false, false, 2, began, "2", "0"},
		{"who ended by itself was not killed", "0", 1, false, false, 1, began, "0", "0"},
		{"what was told is not counted twice", toldOfKill, 137, true, true, 1, began, toldOfKill, "0"},
		{"what was told stays told", toldOfKill, 137, false, true, 1, began, toldOfKill, "0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &Runtime{cfg: Config{State: t.TempDir()}, cgroups: cgroups{mount: t.TempDir(), systemd: true, unified: true}, index: newIndex()}
			events := r.cgroups.file(r.cgroups.pod(qosClasses()[0], "uid"), "", "memory", "memory.events")
			put(t, events, "oom_kill "+strconv.Itoa(tc.kills)+"\noom_group_kill "+strconv.Itoa(tc.kills)+"\n")
			key := manifests.Key{Namespace: "default", Name: "web"}
			for id, n := range map[string]string{"one": tc.expects, "other": "0"} {
				r.index.addContainer(key, id)
				put(t, filepath.Join(r.containerState(id), killsFile), n)
			}
			put(t, filepath.Join(r.containerState("other"), startedFile), tc.otherStarted.Format(time.RFC3339Nano))
			if got := r.oomOfScope("uid", "one", exit{code: tc.code, at: began.Add(time.Minute)}, tc.known); got != tc.want {
				t.Errorf("killed for want of memory: %v, want %v", got, tc.want)
			}
			for id, want := range map[string]string{"one": tc.after, "other": tc.other} {
				if b, _ := os.ReadFile(filepath.Join(r.containerState(id), killsFile)); string(b) != want {
					t.Errorf("%s expects %q kills, want %q", id, b, want)
				}
			}
		})
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
