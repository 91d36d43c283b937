package containerd

import (
	"context"
	"maps"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// RuntimeClasses are what spec.runtimeClassName of a pod from a file may name, in order; never nil.
func (r *Runtime) RuntimeClasses() []string {
	names := slices.AppendSeq(make([]string, 0, len(r.handlers)), maps.Keys(r.handlers))
	slices.Sort(names)
	return names
}

// Handlers are the OCI runtimes that a RuntimeClass may name, as a Node shows them: the default one, under no name and under
// that of runc, and those of --runtime-class.
func (r *Runtime) Handlers() []v1.NodeRuntimeHandler {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	readOnly, users := r.recursiveReadOnly(), r.lacksUserNamespaces(r.ns(ctx)) == ""
	var out []v1.NodeRuntimeHandler
	for _, name := range []string{"", "runc"} {
		out = append(out, v1.NodeRuntimeHandler{Name: name, Features: &v1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: &readOnly, UserNamespaces: &users,
		}})
	}
	for _, name := range slices.Sorted(maps.Keys(r.handlers)) {
		out = append(out, v1.NodeRuntimeHandler{Name: name})
	}
	return out
}
