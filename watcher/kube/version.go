package kube

import (
	"runtime/debug"
	"strings"
)

// KubeletVersion is what a Node says its kubelet is: the Kubernetes whose defaults and validation are built in, with the
// agent's own version behind the plus. Controllers and clients compare it.
func KubeletVersion(agent string) string {
	kubernetes := "v1.37.2"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "k8s.io/kubernetes" {
				kubernetes = d.Version
			}
		}
	}
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, agent)
	return kubernetes + "+agent-" + strings.Trim(clean, ".-")
}
