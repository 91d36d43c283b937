package manifests

import "k8s.io/kubernetes/third_party/forked/golang/expansion"

// Expand replaces each reference $(NAME) in value by what lookup returns for NAME, as the kubelet does for env, command
// and args, with the kubelet's own code: a name that lookup does not know stays as it is written, $$ is a literal $ (so
// $$(NAME) is never expanded), and replaced text is not expanded again.
func Expand(value string, lookup func(name string) (string, bool)) string {
	return expansion.Expand(value, func(name string) string {
		if v, ok := lookup(name); ok {
			return v
		}
		return "$(" + name + ")"
	})
}
