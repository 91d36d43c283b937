package node

import (
	"path/filepath"

	"edgepod.dev/agent/contrib/image"
)

// BusyboxArchive builds the busybox image into dir and returns the archive's path.
func BusyboxArchive(dir string) (string, error) {
	spec, err := image.Busybox()
	if err != nil {
		return "", err
	}
	img, err := image.Build(spec)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "busybox.tar")
	return file, image.Save(file, Busybox, img, image.Docker)
}
