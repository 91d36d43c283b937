package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ensureEmptyDir makes an emptyDir of any medium. Its owner and mode are set when it is made and never again: they are
// the pod's to change.
func (s Set) ensureEmptyDir(v *v1.Volume) (string, error) {
	var dir string
	var err error
	switch medium := v.EmptyDir.Medium; {
	case medium == v1.StorageMediumDefault:
		dir = s.Dirs.disk(v.Name)
		err = s.makeDir(dir)
	case medium == v1.StorageMediumMemory:
		dir = s.Dirs.Mount(v.Name)
		err = mountTmpfs(dir, "mode=1777"+sizeOption(s.memorySize(v)), 0)
	case medium == v1.StorageMediumHugePages, strings.HasPrefix(string(medium), string(v1.StorageMediumHugePagesPrefix)):
		dir = s.Dirs.Mount(v.Name)
		var page int64
		if page, err = pageSize(s.Pod.Object, medium); err == nil {
			err = mountOnce(dir, "hugetlbfs", fmt.Sprintf("mode=1777,pagesize=%d", page), 0)
		}
	default:
		err = fmt.Errorf("the medium %q is unknown", medium)
	}
	if err == nil && v.EmptyDir.Medium != v1.StorageMediumDefault && s.fsGroup() >= 0 {
		err = ownTree(dir, s.fsGroup())
	}
	if err != nil {
		return "", fmt.Errorf("volume %q: %w", v.Name, err)
	}
	return dir, nil
}

// makeDir makes a directory for everybody, and for fsGroup. It gets its name last: one that has it is complete.
func (s Set) makeDir(dir string) error {
	switch st, err := os.Lstat(dir); {
	case err == nil && !st.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("looking at its directory: %w", err)
	}
	fresh := dir + ".new" // no volume has a dot in its name
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return fmt.Errorf("creating its directory: %w", err)
	}
	if err := os.Chmod(fresh, 0o777); err != nil { // whatever the umask says
		return fmt.Errorf("opening its directory: %w", err)
	}
	if s.fsGroup() >= 0 {
		if err := ownTree(fresh, s.fsGroup()); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, dir); err != nil {
		return fmt.Errorf("creating its directory: %w", err)
	}
	return nil
}

// mountTmpfs mounts a tmpfs that is never swapped out, where the kernel (6.4 and later) can promise that.
func mountTmpfs(dir, options string, flags uintptr) error {
	err := mountOnce(dir, "tmpfs", options+",noswap", flags)
	if errors.Is(err, unix.EINVAL) {
		err = mountOnce(dir, "tmpfs", options, flags)
	}
	return err
}

func sizeOption(bytes int64) string {
	if bytes <= 0 {
		return ""
	}
	return fmt.Sprintf(",size=%d", bytes)
}

// memorySize is the least of sizeLimit, the pod's memory limit and the node's memory, in bytes (kubelet:
// calculateEmptyDirMemorySize); 0 when none is known.
func (s Set) memorySize(v *v1.Volume) int64 {
	size := s.Facts.Allocatable.Memory().Value()
	for _, limit := range []int64{podMemoryLimit(s.Pod.Object), valueOf(v.EmptyDir.SizeLimit)} {
		if limit > 0 && (size == 0 || limit < size) {
			size = limit
		}
	}
	return size
}

func valueOf(q *resource.Quantity) int64 {
	if q == nil {
		return 0
	}
	return q.Value()
}

// podMemoryLimit is the memory limit of the pod's cgroup in bytes; 0 when a container has none. Sidecars run beside the
// containers and beside each init container that comes after them.
func podMemoryLimit(p *v1.Pod) int64 {
	if r := p.Spec.Resources; r != nil {
		if limit, ok := r.Limits[v1.ResourceMemory]; ok {
			return limit.Value()
		}
	}
	var main, sidecars, most int64
	for i := range p.Spec.Containers {
		limit := p.Spec.Containers[i].Resources.Limits.Memory().Value()
		if limit == 0 {
			return 0
		}
		main += limit
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		limit := c.Resources.Limits.Memory().Value()
		switch {
		case limit == 0:
			return 0
		case c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways:
			sidecars += limit
			most = max(most, sidecars)
		default:
			most = max(most, sidecars+limit)
		}
	}
	return max(main+sidecars, most)
}

// pageSize is the size in bytes of the huge pages of a medium. The pod must ask for such pages as a resource (kubelet:
// getPageSizeMountOption).
func pageSize(p *v1.Pod, medium v1.StorageMedium) (int64, error) {
	sizes := map[int64]bool{}
	lists := []v1.ResourceList{}
	if p.Spec.Resources != nil {
		lists = append(lists, p.Spec.Resources.Requests)
	}
	for _, containers := range [][]v1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range containers {
			lists = append(lists, containers[i].Resources.Requests)
		}
	}
	for _, l := range lists {
		for name := range l {
			if text, ok := strings.CutPrefix(string(name), v1.ResourceHugePagesPrefix); ok {
				size, err := resource.ParseQuantity(text)
				if err != nil {
					return 0, fmt.Errorf("resource %q: %w", name, err)
				}
				sizes[size.Value()] = true
			}
		}
	}
	want := int64(0)
	if text, ok := strings.CutPrefix(string(medium), string(v1.StorageMediumHugePagesPrefix)); ok {
		size, err := resource.ParseQuantity(text)
		if err != nil {
			return 0, fmt.Errorf("medium %q: %w", medium, err)
		}
		want = size.Value()
	} else if len(sizes) > 1 {
		return 0, fmt.Errorf("medium: %s can't be used if container requests multiple huge page sizes", medium)
	}
	for size := range sizes {
		if want == 0 || size == want {
			return size, nil
		}
	}
	return 0, fmt.Errorf("medium %s: hugePages storage requested, but there is no resource request for huge pages", medium)
}
