package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// ensureFiles makes a volume whose files come from documents, on the pod's own tmpfs: a secret never reaches a disk.
func (s Set) ensureFiles(v *v1.Volume) (string, error) {
	files, err := manifests.VolumeFiles(s.Pod, v, s.Facts)
	if err != nil {
		return "", err
	}
	dir := s.Dirs.files(v.Name)
	if err := s.writeFiles(v.Name, dir, files); err != nil {
		return "", fmt.Errorf("volume %q: %w", v.Name, err)
	}
	return dir, nil
}

func (s Set) writeFiles(name, dir string, files map[string]manifests.File) error {
	if err := mountTmpfs(s.Dirs.config(), "mode=0755", unix.MS_NOSUID|unix.MS_NODEV); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Dirs.config(), &fs); err != nil {
		return fmt.Errorf("looking at %s: %w", s.Dirs.config(), err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is not on a tmpfs", s.Dirs.config())
	}
	if err := mkdirMode(dir, 0o755); err != nil {
		return err
	}
	for _, point := range nestedMountPoints(s.Pod.Object, name) {
		if err := os.MkdirAll(filepath.Join(dir, point), 0o755); err != nil {
			return fmt.Errorf("creating a mount point in it: %w", err)
		}
	}
	w := writer{dir: dir, gid: s.fsGroup()}
	return w.write(files)
}

// nestedMountPoints lists the directories that a read-only volume has to have because a container mounts others in it,
// relative to its root; those within another nested mount are that one's (kubelet: MakeNestedMountpoints).
func nestedMountPoints(p *v1.Pod, name string) []string {
	var found []string
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			var all []string
			for _, m := range list[i].VolumeMounts {
				all = append(all, filepath.Clean("/"+m.MountPath))
			}
			slices.Sort(all)
			for _, m := range list[i].VolumeMounts {
				if m.Name != name || m.SubPath != "" || m.SubPathExpr != "" {
					continue
				}
				outer := filepath.Clean("/"+m.MountPath) + "/"
				var nested []string
				for _, inner := range all {
					below := func(n string) bool { return strings.HasPrefix(inner, n+"/") }
					if strings.HasPrefix(inner, outer) && !slices.ContainsFunc(nested, below) {
						nested = append(nested, inner)
						found = append(found, strings.TrimPrefix(inner, outer))
					}
				}
			}
		}
	}
	return found
}

func mkdirMode(dir string, mode os.FileMode) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("creating a directory: %w", err)
	}
	if err := os.Chmod(dir, mode); err != nil { // whatever the umask says
		return fmt.Errorf("opening a directory: %w", err)
	}
	return nil
}
