package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// hugePageSizes are the sizes of huge pages that the cgroups of this box can count, as they name them ("2MB"); none without
// the controller.
func hugePageSizes(unified bool) []string {
	if unified {
		b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if err != nil || !slices.Contains(strings.Fields(string(b)), "hugetlb") {
			return nil
		}
	} else if _, err := os.Stat("/sys/fs/cgroup/hugetlb"); err != nil {
		return nil
	}
	dirs, err := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	if err != nil {
		return nil
	}
	var sizes []string
	for _, dir := range dirs {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB")
		if kb, err := strconv.ParseInt(name, 10, 64); err == nil {
			sizes = append(sizes, hugePageName(kb<<10))
		}
	}
	return sizes
}

// hugePageName is a size as the hugetlb controller names it: 2097152 is "2MB".
func hugePageName(bytes int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB"}
	unit := 0
	for bytes >= 1<<10 && bytes%(1<<10) == 0 && unit < len(units)-1 {
		bytes >>= 10
		unit++
	}
	return strconv.FormatInt(bytes, 10) + units[unit]
}

// hugeLimits adds to limits what a manifest gives of huge pages, by their size.
func hugeLimits(limits map[string]uint64, list v1.ResourceList) {
	for name, q := range list {
		text, huge := strings.CutPrefix(string(name), v1.ResourceHugePagesPrefix)
		if !huge {
			continue
		}
		if size, err := resource.ParseQuantity(text); err == nil {
			limits[hugePageName(size.Value())] = uint64(max(q.Value(), 0)) //nolint:gosec // not negative
		}
	}
}

// checkHugePages refuses what this box could not hold a container to.
func checkHugePages(p *v1.Pod, c *v1.Container, sizes []string) error {
	limits := map[string]uint64{}
	if p.Spec.Resources != nil {
		hugeLimits(limits, p.Spec.Resources.Limits)
	}
	hugeLimits(limits, c.Resources.Limits)
	for size, n := range limits {
		if n > 0 && !slices.Contains(sizes, size) {
			return fmt.Errorf("the limit of huge pages of %s cannot be held: this node's cgroups do not count them", size)
		}
	}
	return nil
}
