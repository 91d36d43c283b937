package containerd

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestABrokenLineOfAUserFileMakesNobodyRoot(t *testing.T) {
	const group = "wheel\ngood:x:7:\nword:x:ten:\n"
	for _, c := range []struct{ name, passwd, user string }{
		{"no fields", "alice\n", "alice"},
		{"no numbers", "alice:x:\n", "alice"},
		{"a word for a number", "alice:x:one:1::/:\n", "alice"},
		{"a number that is too large", "alice:x:99999999999999999999:1::/:\n", "alice"},
		{"no group", "alice:x:1000\n", "alice"},
		{"a group without fields", "alice:x:1000:1000::/:\n", "alice:wheel"},
		{"a word for a group's number", "alice:x:1000:1000::/:\n", "alice:word"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := &image{passwd: []byte(c.passwd), group: []byte(group), config: ocispec.ImageConfig{User: c.user}}
			who, err := img.resolveUser(nil, nil, false)
			if err == nil || !strings.Contains(err.Error(), "is not in its /etc/") {
				t.Errorf("user %s is %+v (%v)", c.user, who, err)
			}
		})
	}
	img := &image{passwd: []byte("broken\nalice:x:1000:1000::/:\n"), group: []byte(group), config: ocispec.ImageConfig{User: "alice:good"}}
	if who, err := img.resolveUser(nil, nil, false); err != nil || who.uid != 1000 || who.gid != 7 {
		t.Errorf("beside a broken line, alice is %+v (%v)", who, err)
	}
}

func TestAGroupOfAUserThatWrapsToRootIsRefused(t *testing.T) {
	for _, user := range []string{"1000", "bob"} {
		img := &image{passwd: []byte("bob:x:1000:4294967296::/:\n"), config: ocispec.ImageConfig{User: user}}
		if who, err := img.resolveUser(nil, nil, false); err == nil {
			t.Errorf("user %s is %+v", user, who)
		}
	}
}
