package volume

import (
	"errors"
	"fmt"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// Options is the options of a bind mount of a volume in a container, for the OCI runtime. What manifests.VolumeReadOnly
// says is read-only whatever the mount says. rro says whether kernel and runtime know recursively
// read-only mounts; see RecursiveReadOnly.
func Options(p *manifests.Pod, v *v1.Volume, m *v1.VolumeMount, rro bool) ([]string, error) {
	options := []string{"rbind", "rprivate", "rw"}
	propagation := v1.MountPropagationNone
	if m.MountPropagation != nil {
		propagation = *m.MountPropagation
	}
	switch propagation {
	case v1.MountPropagationNone:
	case v1.MountPropagationHostToContainer:
		options[1] = "rslave"
	case v1.MountPropagationBidirectional:
		options[1] = "rshared"
	default:
		return nil, fmt.Errorf("invalid MountPropagation mode: %q", propagation)
	}
	if m.ReadOnly || manifests.VolumeReadOnly(p, v) {
		options[2] = "ro"
	}
	if v.Image != nil { // nothing in it runs (KEP-4639)
		options = append(options, "nosuid", "nodev", "noexec")
	}
	mode := v1.RecursiveReadOnlyDisabled
	if m.RecursiveReadOnly != nil {
		mode = *m.RecursiveReadOnly
	}
	switch {
	case mode == v1.RecursiveReadOnlyDisabled:
		return options, nil
	case !m.ReadOnly:
		return nil, fmt.Errorf("volume %q requested recursive read-only mode, but it is not read-only", m.Name)
	case propagation != v1.MountPropagationNone:
		return nil, fmt.Errorf("volume %q requested recursive read-only mode, but it is not compatible with propagation %q", m.Name, propagation)
	case rro:
		options[2] = "rro"
		return options, nil
	case mode == v1.RecursiveReadOnlyEnabled:
		return nil, fmt.Errorf("volume %q requested recursive read-only mode, but it is not supported by the runtime", m.Name)
	}
	return options, nil
}

// RecursiveReadOnly says whether the kernel knows recursively read-only mounts (mount_setattr, 5.12). The runtime has to
// know them too: runc does since 1.1.
func RecursiveReadOnly() bool {
	err := unix.MountSetattr(-1, "", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return !errors.Is(err, unix.ENOSYS)
}
