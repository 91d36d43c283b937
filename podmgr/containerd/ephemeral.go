package containerd

import (
	"context"
	"fmt"

	"edgepod.dev/agent/podmgr"
)

// target is the first process of the container that an ephemeral container targets; 0 when it has no target, or when the
// pod's containers share their processes anyway.
func (x *starting) target(ctx context.Context) (pid uint32, err error) {
	p := x.pod.Object
	var name string
	for i := range p.Spec.EphemeralContainers {
		if c := &p.Spec.EphemeralContainers[i]; c.Name == x.c.Name {
			name = c.TargetContainerName
		}
	}
	if name == "" || p.Spec.HostPID || sharedPID(p) {
		return 0, nil
	}
	have, err := x.r.Observe(ctx, x.pod.Key())
	if err != nil {
		return 0, err
	}
	for i := range have.Containers {
		c := &have.Containers[i]
		if c.UID != x.pod.UID() || c.Name != name || c.State != podmgr.Running {
			continue
		}
		st, err := x.r.task(ctx, c.ID)
		if err != nil {
			return 0, err
		}
		if st.running() {
			return st.pid, nil
		}
	}
	return 0, fmt.Errorf("unable to find target container %q: it does not run", name)
}
