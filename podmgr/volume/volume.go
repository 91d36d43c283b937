package volume

import (
	"path/filepath"
	"strconv"
)

// Dirs is where the volumes of one pod live. Both directories are the pod's alone and hold nothing else: Remove deletes
// them with all that is in them. Their parents belong to root and nobody else may write there.
type Dirs struct {
	// Disk holds volumes that survive a reboot, one directory each.
	Disk string
	// Memory holds the mounts of the others; it is below /run or another tmpfs.
	Memory string
}

func (d Dirs) disk(name string) string { return filepath.Join(d.Disk, name) }

// Mount is where a volume that is a mount of its own lies, one of an image included, which the engine makes.
func (d Dirs) Mount(name string) string { return filepath.Join(d.Memory, "mounts", name) }

func (d Dirs) config() string           { return filepath.Join(d.Memory, "config") }
func (d Dirs) files(name string) string { return filepath.Join(d.config(), name) }
func (d Dirs) subpath(container string, mount int) string {
	return filepath.Join(d.Memory, "subpaths", container, strconv.Itoa(mount))
}
