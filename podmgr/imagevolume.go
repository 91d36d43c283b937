package podmgr

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// volumePrefix stands before the name of an image volume where memory keeps what was pulled; no container has such a name.
const volumePrefix = "volume/"

// mountsVolume says whether a container mounts a volume.
func mountsVolume(spec *v1.Container, volume string) bool {
	return slices.ContainsFunc(spec.VolumeMounts, func(m v1.VolumeMount) bool { return m.Name == volume })
}

// pullVolumes fetches the images of the image volumes that a container mounts; it says whether one is not here yet.
func (p *planner) pullVolumes(spec *v1.Container) (missing bool) {
	for i := range p.pod.Spec.Volumes {
		v := &p.pod.Spec.Volumes[i]
		if v.Image == nil || !mountsVolume(spec, v.Name) || p.mem.hasImage(volumePrefix+v.Name, 0) {
			continue
		}
		p.pull(spec, v.Image.Reference, PullPolicy(v.Image.PullPolicy))
		missing = true
	}
	return missing
}

// volumesHaveImage notes a pull for the image volumes of the pod that want the same image under the same policy.
func (m *memory) volumesHaveImage(pod *v1.Pod, ref string, policy PullPolicy) {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Image != nil && v.Image.Reference == ref && PullPolicy(v.Image.PullPolicy) == policy {
			m.pulledFor(volumePrefix+v.Name, 0)
		}
	}
}

// askAgain forgets which images were made present for a container: one of them may be what is missing.
func (m *memory) askAgain(container string) {
	for name := range m.pulled {
		if name == container || strings.HasPrefix(name, volumePrefix) {
			delete(m.pulled, name)
		}
	}
}

// pullFailure is the failed pull that a container waits for, of its own image or of that of a volume.
func (f *facts) pullFailure(spec *v1.Container) (image string, p failure, failed bool) {
	image = spec.Image
	if p, failed = f.mem.failed[stepKey{verb: pull, uid: f.pod.UID, target: image}]; failed {
		return image, p, true
	}
	for i := range f.pod.Spec.Volumes {
		v := &f.pod.Spec.Volumes[i]
		if v.Image == nil || !mountsVolume(spec, v.Name) {
			continue
		}
		if p, failed = f.mem.failed[stepKey{verb: pull, uid: f.pod.UID, target: v.Image.Reference}]; failed {
			return v.Image.Reference, p, true
		}
	}
	return "", failure{}, false
}
