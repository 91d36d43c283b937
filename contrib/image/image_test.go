package image

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func spec(t *testing.T) Spec {
	t.Helper()
	app := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(app, []byte("#!app"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Spec{
		Files: []File{
			{Path: "/usr/bin/app", Source: app},
			{Path: "/bin/a", Link: "../usr/bin/app"},
			{Path: "/tmp", Mode: 0o777 | os.ModeSticky},
			{Path: "/etc/empty", Data: []byte{}, Mode: 0o600},
		},
		Config: v1.Config{Entrypoint: []string{"/usr/bin/app"}, Env: []string{"A=b"}},
	}
}

// entries lists an image's file system, one line an entry.
func entries(t *testing.T, img v1.Image) []string {
	t.Helper()
	r := mutate.Extract(img)
	defer func() { _ = r.Close() }()
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%c %o %s %s", h.Typeflag, h.Mode, h.Name, h.Linkname)))
	}
}

func TestImageHoldsTheFilesWithTheirParents(t *testing.T) {
	img, err := Build(spec(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"5 755 bin", "2 777 bin/a ../usr/bin/app", "5 755 etc", "0 600 etc/empty",
		"5 1777 tmp", "5 755 usr", "5 755 usr/bin", "0 755 usr/bin/app",
	}
	if diff := cmp.Diff(want, entries(t, img)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestSameInputGivesTheSameDigest(t *testing.T) {
	one, err := Build(spec(t))
	if err != nil {
		t.Fatal(err)
	}
	two, err := Build(spec(t))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := one.Digest()
	b, _ := two.Digest()
	if a != b {
		t.Errorf("two builds of one spec have the digests %s and %s", a, b)
	}
}

func TestDockerArchiveIsReadBack(t *testing.T) {
	img, err := Build(spec(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "app.tar")
	if err := Save(file, "edgepod.dev/app:1", img, Docker); err != nil {
		t.Fatal(err)
	}
	tag, _ := name.NewTag("edgepod.dev/app:1")
	back, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries(t, img), entries(t, back)); diff != "" {
		t.Errorf("entries (-saved +read):\n%s", diff)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) != 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

func TestOCIArchiveNamesItsImage(t *testing.T) {
	img, err := Build(spec(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "app.tar")
	if err := Save(file, "edgepod.dev/app:1", img, OCI); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("looking for index.json: %v", err)
		}
		if h.Name != "index.json" {
			continue
		}
		b, _ := io.ReadAll(tr)
		for _, want := range []string{`"io.containerd.image.name":"edgepod.dev/app:1"`, `"org.opencontainers.image.ref.name":"1"`} {
			if !strings.Contains(strings.ReplaceAll(string(b), " ", ""), want) {
				t.Errorf("index.json lacks %s:\n%s", want, b)
			}
		}
		return
	}
}

func TestSaveLeavesNothingOnFailure(t *testing.T) {
	img, err := Build(spec(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, ref := range []string{"Not A Reference", "edgepod.dev/app:1"} {
		format := Docker
		if ref == "edgepod.dev/app:1" {
			format = "zip"
		}
		if err := Save(filepath.Join(dir, "x.tar"), ref, img, format); err == nil {
			t.Errorf("saving %q as %s succeeded, want an error", ref, format)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
}
