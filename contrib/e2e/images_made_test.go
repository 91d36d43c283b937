package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1"

	"edgepod.dev/agent/contrib/e2e/node"
	"edgepod.dev/agent/contrib/image"
)

// dropBusybox puts a busybox image of that name, with files and USER, into the node's import directory.
func dropBusybox(t *testing.T, n *node.Node, ref string, files []image.File, user string) {
	t.Helper()
	dropImage(t, n, ref, files, func(c *ggcr.Config) { c.User = user })
}

// dropImage is dropBusybox with any change to the configuration. A file replaces the one of that path.
func dropImage(t *testing.T, n *node.Node, ref string, files []image.File, change func(*ggcr.Config)) {
	t.Helper()
	spec, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	kept := spec.Files[:0]
	for _, f := range spec.Files {
		replaced := false
		for _, g := range files {
			replaced = replaced || g.Path == f.Path
		}
		if !replaced {
			kept = append(kept, f)
		}
	}
	spec.Files = append(kept, files...)
	if change != nil {
		change(&spec.Config)
	}
	img, err := image.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), strings.NewReplacer("/", "_", ":", "_").Replace(ref)+".tar")
	if err := image.Save(archive, ref, img, image.Docker); err != nil {
		t.Fatal(err)
	}
	n.DropImage(archive)
}

// userFiles are an image's users: alice, 1000, who is also in the group of 50000.
func userFiles() []image.File {
	return []image.File{
		{Path: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n"), Mode: 0o644},
		{Path: "/etc/group", Data: []byte("root:x:0:\nalice:x:1000:\nextra:x:50000:alice\n"), Mode: 0o644},
	}
}
