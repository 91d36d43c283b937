// Package image builds small container images from files of this machine, without a container engine and without a
// registry: for the demo, for the tests and for the benchmarks. Same input, same digest.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is one entry of an image. Directories above it are made with mode 0755 where they are not entries themselves.
type File struct {
	// Path is where the entry lies in the image, such as "/bin/app".
	Path string
	// Exactly one of these says what it is: a copy of a host file, given bytes, a symbolic link, or (none) a directory.
	Source string
	Data   []byte
	Link   string
	// Mode is the permission bits, with os.ModeSticky where wanted; 0 is 0755 for files and directories.
	Mode os.FileMode
}

// Spec says what is in an image and how its container runs.
type Spec struct {
	Files []File
	// Config is the container's configuration: Entrypoint, Cmd, Env, WorkingDir, User, Labels, …
	Config v1.Config
}

// Build makes a single-layer image for the architecture of this machine.
func Build(s Spec) (v1.Image, error) {
	content, err := layer(s.Files)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("compressing the layer: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, fmt.Errorf("adding the layer: %w", err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Config = "linux", runtime.GOARCH, s.Config
	img, err = mutate.ConfigFile(img, cf)
	if err != nil {
		return nil, fmt.Errorf("setting the configuration: %w", err)
	}
	return img, nil
}

// layer writes files as an uncompressed tar with no times and no owners but root.
func layer(files []File) ([]byte, error) {
	files = slices.Clone(files)
	for i := range files {
		files[i].Path = strings.TrimPrefix(path.Clean("/"+files[i].Path), "/")
	}
	slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{".": true, "": true}
	for _, f := range files {
		if err := parents(w, made, f.Path); err != nil {
			return nil, err
		}
		if err := entry(w, f); err != nil {
			return nil, fmt.Errorf("adding %q: %w", "/"+f.Path, err)
		}
		made[f.Path] = true
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("ending the layer: %w", err)
	}
	return buf.Bytes(), nil
}

func parents(w *tar.Writer, made map[string]bool, name string) error {
	dir := path.Dir(name)
	if made[dir] {
		return nil
	}
	if err := parents(w, made, dir); err != nil {
		return err
	}
	made[dir] = true
	return entry(w, File{Path: dir})
}

func entry(w *tar.Writer, f File) error {
	mode := f.Mode
	if mode == 0 {
		mode = 0o755
	}
	h := &tar.Header{Name: f.Path, Mode: int64(mode.Perm()), Format: tar.FormatPAX}
	if mode&os.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	data := f.Data
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Source != "":
		b, err := os.ReadFile(f.Source)
		if err != nil {
			return err
		}
		h.Typeflag, data = tar.TypeReg, b
	case data != nil:
		h.Typeflag = tar.TypeReg
	default:
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
	}
	h.Size = int64(len(data))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
