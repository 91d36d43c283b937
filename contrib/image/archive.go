package image

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Format is the layout of an image archive.
type Format string

const (
	// Docker is what `docker save` writes.
	Docker Format = "docker"
	// OCI is a tar of an OCI image layout, as `skopeo copy … oci-archive:` writes.
	OCI Format = "oci"
)

// Save writes img under the reference ref to file, replacing it atomically.
func Save(file, ref string, img v1.Image, format Format) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	switch format {
	case Docker:
		tag, perr := name.NewTag(ref)
		if perr != nil {
			return fmt.Errorf("reading the reference %q: %w", ref, perr)
		}
		err = tarball.Write(tag, img, tmp)
	case OCI:
		err = writeOCI(tmp, ref, img)
	default:
		err = fmt.Errorf("format %q is neither docker nor oci", format)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", file, err)
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

// writeOCI tars an image layout whose one manifest carries its name in the annotations that containerd and skopeo read.
func writeOCI(w io.Writer, ref string, img v1.Image) error {
	dir, err := os.MkdirTemp("", "image-layout-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	names := map[string]string{
		"io.containerd.image.name":          ref,
		"org.opencontainers.image.ref.name": ref[strings.LastIndexAny(ref, ":/")+1:],
	}
	if err := p.AppendImage(img, layout.WithAnnotations(names)); err != nil {
		return fmt.Errorf("adding the image to the layout: %w", err)
	}
	t := tar.NewWriter(w)
	if err := t.AddFS(os.DirFS(dir)); err != nil {
		return fmt.Errorf("packing the layout: %w", err)
	}
	return t.Close()
}
