package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestEveryPodKeepsARangeOfIDsOfItsOwn(t *testing.T) {
	root := t.TempDir()
	node := func() *Runtime { return &Runtime{cfg: Config{Root: root}, index: newIndex()} }
	pod := func(name string, host *bool) *manifests.Pod {
		return &manifests.Pod{Object: &v1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}, Spec: v1.PodSpec{HostUsers: host},
		}}
	}
	take := func(r *Runtime, name string) idRange {
		t.Helper()
		got, err := r.takeIDs(pod(name, new(false)))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	r := node()
	if got, err := r.takeIDs(pod("plain", nil)); got != 0 || err != nil {
		t.Errorf("a pod with the node's users got the range %d (%v)", got, err)
	}
	if a, b := take(r, "a"), take(r, "b"); a != 65536 || b != 131072 {
		t.Errorf("the pods got %d and %d", a, b)
	}
	if a, b := take(node(), "a"), take(node(), "b"); a != 65536 || b != 131072 {
		t.Errorf("after a restart the pods have %d and %d", a, b)
	}
	if err := os.RemoveAll(r.podDir("uid-a")); err != nil {
		t.Fatal(err)
	}
	if c := take(node(), "c"); c != 65536 {
		t.Errorf("the range of a pod that is gone was not given again: %d", c)
	}
	for name, text := range map[string]string{
		"no JSON": "{", "no range": "{}", "the node's root": `{"uidMappings":[{"hostId":0,"containerId":0,"length":65536}],"gidMappings":[{"hostId":0,"containerId":0,"length":65536}]}`,
	} {
		if err := os.WriteFile(filepath.Join(r.podDir("uid-c"), idsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := r.takeIDs(pod("c", new(false))); err == nil {
			t.Errorf("a file with %s gave the range %d", name, got)
		}
	}
}

func TestIDsOutsideTheRangeAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		ids  idRange
		who  identityOf
		ok   bool
	}{
		{"the node's users", 0, identityOf{uid: 70000}, true},
		{"the last ID", 65536, identityOf{uid: 65535, gid: 65535, groups: []uint32{65535}}, true},
		{"a user", 65536, identityOf{uid: 65536}, false},
		{"a group", 65536, identityOf{gid: 65536}, false},
		{"one of many groups", 65536, identityOf{groups: []uint32{1, 70000}}, false},
	} {
		if err := c.ids.check(c.who); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
