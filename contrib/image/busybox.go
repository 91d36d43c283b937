package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Busybox is an image with a shell and the usual commands, made from the static busybox of this machine
// (apt install busybox-static), with files added to it.
func Busybox(files ...File) (Spec, error) {
	file, err := exec.LookPath("busybox")
	if err != nil {
		return Spec{}, fmt.Errorf("looking for busybox (apt install busybox-static): %w", err)
	}
	list, err := exec.Command(file, "--list").Output()
	if err != nil {
		return Spec{}, fmt.Errorf("listing busybox's commands: %w", err)
	}
	all := []File{
		{Path: "/bin/busybox", Source: file},
		{Path: "/tmp", Mode: 0o777 | os.ModeSticky},
		{Path: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"), Mode: 0o644},
		{Path: "/etc/group", Data: []byte("root:x:0:\nnogroup:x:65534:\n"), Mode: 0o644},
		{Path: "/root", Mode: 0o700},
	}
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "busybox" {
			all = append(all, File{Path: filepath.Join("/bin", applet), Link: "busybox"})
		}
	}
	return Spec{
		Files:  append(all, files...),
		Config: v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}},
	}, nil
}
