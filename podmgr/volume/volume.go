package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	v1 "k8s.io/api/core/v1"
)

// Dirs is where the volumes of one pod live. Both directories are the pod's alone and hold nothing else: Remove deletes
// them with all that is in them. Their parents belong to root and nobody else may write there.
type Dirs struct {
	// Disk holds volumes that survive a reboot, one directory each.
	Disk string
	// Memory holds the mounts of the others; it is below /run or another tmpfs.
	Memory string
}

func (d Dirs) disk(name string) string  { return filepath.Join(d.Disk, name) }
func (d Dirs) mount(name string) string { return filepath.Join(d.Memory, "mounts", name) }
func (d Dirs) config() string           { return filepath.Join(d.Memory, "config") }
func (d Dirs) files(name string) string { return filepath.Join(d.config(), name) }
func (d Dirs) subpath(container string, mount int) string {
	return filepath.Join(d.Memory, "subpaths", container, strconv.Itoa(mount))
}

// Ensure makes the volume exist and returns its path on the node. It is idempotent; what is in the volume stays.
func Ensure(v v1.Volume, d Dirs) (string, error) {
	switch {
	case v.EmptyDir != nil:
		return ensureEmptyDir(v, d)
	case v.HostPath != nil:
		return v.HostPath.Path, ensureHostPath(v)
	}
	return "", fmt.Errorf("volume %q: its type is not supported", v.Name)
}

func ensureEmptyDir(v v1.Volume, d Dirs) (string, error) {
	dir := filepath.Join(d.Disk, v.Name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("volume %q: creating its directory: %w", v.Name, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // whatever the umask says
		return "", fmt.Errorf("volume %q: opening its directory: %w", v.Name, err)
	}
	return dir, nil
}
