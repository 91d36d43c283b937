package containerd

import (
	"fmt"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	"github.com/opencontainers/go-digest"
)

func TestAnImageIsForWhomHasShownThatItMayHaveIt(t *testing.T) {
	cred := func(secret, hash string) manifests.PullCredential {
		return manifests.PullCredential{Secret: secret, Hash: hash}
	}
	one, two := digest.FromString("1"), digest.FromString("2")
	a, b := cred("ns/a", "aaaa"), cred("ns/b", "bbbb")
	byA := access{}.with(one, &a)
	for name, test := range map[string]struct {
		access access
		creds  []manifests.PullCredential
		want   bool
	}{
		"an import is everybody's":            {access{}, nil, true},
		"nobody else's":                       {byA, nil, false},
		"its own":                             {byA, []manifests.PullCredential{a}, true},
		"the same Secret with a new hash":     {byA, []manifests.PullCredential{cred("ns/a", "cccc")}, true},
		"the same credential elsewhere":       {byA, []manifests.PullCredential{cred("other/x", "aaaa")}, true},
		"another one":                         {byA, []manifests.PullCredential{b}, false},
		"one of several":                      {byA, []manifests.PullCredential{b, a}, true},
		"both, after both have pulled it":     {byA.with(one, &b), []manifests.PullCredential{a}, true},
		"not for an image that has changed":   {byA.with(two, &b), []manifests.PullCredential{a}, false},
		"everybody's once the node pulled it": {byA.with(one, nil), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			labels := map[string]string{}
			if len(test.access.secrets) > 0 {
				labels[labelAccess] = test.access.label()
			}
			if got := accessOf(labels).allows(test.creds); got != test.want {
				t.Errorf("allowed: %t, from the label %q", got, labels[labelAccess])
			}
		})
	}
	many := access{}
	for i := range 500 {
		c := cred(fmt.Sprintf("ns/%d", i), strings.Repeat("f", 64))
		many = many.with(one, &c)
	}
	if l := many.label(); len(l)+len(labelAccess) > 4096 || !accessOf(map[string]string{labelAccess: l}).allows([]manifests.PullCredential{cred("ns/499", "x")}) {
		t.Errorf("a label of %d bytes, without the latest credential", len(l))
	}
}

func TestCredentialsGoToTheRegistryOfTheImageAlone(t *testing.T) {
	for _, test := range []struct {
		host, image string
		want        bool
	}{
		{"registry-1.docker.io", "docker.io/library/busybox:1", true},
		{"reg.example:5000", "reg.example:5000/app:1", true},
		{"mirror.example", "reg.example:5000/app:1", false},
		{"reg.example", "reg.example:5000/app:1", false},
	} {
		if got := isRegistryOf(test.host, test.image); got != test.want {
			t.Errorf("%s for %s: %t", test.host, test.image, got)
		}
	}
}
