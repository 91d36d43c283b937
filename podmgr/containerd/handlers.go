package containerd

import v1 "k8s.io/api/core/v1"

// Handlers are the OCI runtimes that a RuntimeClass may name, as a Node shows them: the default one, under no name and under
// that of runc.
func (r *Runtime) Handlers() []v1.NodeRuntimeHandler {
	var out []v1.NodeRuntimeHandler
	for _, name := range []string{"", "runc"} {
		readOnly, users := true, false
		out = append(out, v1.NodeRuntimeHandler{Name: name, Features: &v1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: &readOnly, UserNamespaces: &users,
		}})
	}
	return out
}
