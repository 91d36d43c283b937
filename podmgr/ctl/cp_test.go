package ctl

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree is the files of a directory by name, with what they hold.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	_ = filepath.Walk(dir, func(p string, st os.FileInfo, err error) error {
		if err == nil && st.Mode().IsRegular() {
			b, _ := os.ReadFile(p)
			rel, _ := filepath.Rel(dir, p)
			out[rel] = string(b)
		}
		return nil
	})
	return out
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesAreCopiedBothWays(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	here := t.TempDir()
	put(t, here, map[string]string{"one": "1", "dir/a": "A", "dir/sub/b": "B"})
	put(t, n.root, map[string]string{"there/x": "X", "there/deep/y": "Y", "exists/old": "old"})
	_ = os.Symlink("/etc/passwd", filepath.Join(n.root, "there/link"))
	for _, c := range []struct{ from, to string }{
		{here + "/one", "web:" + n.root + "/uno"},
		{here + "/one", "default/web:" + n.root + "/exists"},
		{here + "/dir", "web:" + n.root + "/exists"},
		{here + "/dir", "pod/web:" + n.root + "/new"},
		{"web:there", here + "/got"},
		{"web:" + n.root + "/there/x", here + "/dir"},
		{"web:there/x", here + "/renamed"},
	} {
		if _, errOut, err := run(func(s Streams) error {
			return Copy(context.Background(), n.Client, s, CopyOptions{From: c.from, To: c.to})
		}); err != nil {
			t.Errorf("%s to %s: %v %s", c.from, c.to, err, errOut)
		}
	}
	wantThere := map[string]string{
		"there/x": "X", "there/deep/y": "Y", "exists/old": "old", "uno": "1", "exists/one": "1", "exists/dir/a": "A", "exists/dir/sub/b": "B",
		"new/a": "A", "new/sub/b": "B",
	}
	if d := cmp.Diff(wantThere, tree(t, n.root)); d != "" {
		t.Error("in the container: ", d)
	}
	wantHere := map[string]string{
		"one": "1", "dir/a": "A", "dir/sub/b": "B", "got/x": "X", "got/deep/y": "Y", "dir/x": "X", "renamed": "X",
	}
	if d := cmp.Diff(wantHere, tree(t, here)); d != "" {
		t.Error("here: ", d)
	}
	_, _, err := run(func(s Streams) error {
		return Copy(context.Background(), n.Client, s, CopyOptions{From: "web:nothing", To: here + "/nothing"})
	})
	if err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("what is not there: %v", err)
	}
	for _, c := range [][2]string{{"a", "b"}, {"web:a", "web:b"}, {"web:", "b"}, {":a", "b"}, {"", "web:a"}} {
		if _, _, err := run(func(s Streams) error {
			return Copy(context.Background(), n.Client, s, CopyOptions{From: c[0], To: c[1]})
		}); ExitCode(err) != ExitUsage {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func TestAHostileArchiveWritesNothingOutside(t *testing.T) {
	type entry struct {
		name, link, text string
		kind             byte
	}
	for name, entries := range map[string][]entry{
		"dots":                         {{name: "../evil", text: "x", kind: tar.TypeReg}},
		"dots inside":                  {{name: "base/../../evil", text: "x", kind: tar.TypeReg}},
		"an absolute name":             {{name: "/tmp/evil", text: "x", kind: tar.TypeReg}},
		"what was not asked for":       {{name: "other", text: "x", kind: tar.TypeReg}},
		"through a link it brought":    {{name: "base", kind: tar.TypeDir}, {name: "base/l", link: "..", kind: tar.TypeSymlink}, {name: "base/l/evil", text: "x", kind: tar.TypeReg}},
		"through a hard link":          {{name: "base", kind: tar.TypeDir}, {name: "base/h", link: "../victim", kind: tar.TypeLink}, {name: "base/h", text: "x", kind: tar.TypeReg}},
		"through a link that was here": {{name: "base/out/evil", text: "x", kind: tar.TypeReg}},
		"over a link that was here":    {{name: "base/file", text: "x", kind: tar.TypeReg}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, map[string]string{"victim": "whole", "in/to/keep": ""})
			_ = os.Symlink(dir, filepath.Join(dir, "in/to/out"))
			_ = os.Symlink(filepath.Join(dir, "victim"), filepath.Join(dir, "in/to/file"))
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, e := range entries {
				_ = w.WriteHeader(&tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.text))})
				_, _ = w.Write([]byte(e.text))
			}
			_ = w.Close()
			err := unpack(&b, "base", filepath.Join(dir, "in", "to"), func(string, ...any) {})
			got := tree(t, dir)
			if got["victim"] != "whole" || got["evil"] != "" {
				t.Errorf("it wrote outside (%v): %v", err, got)
			}
		})
	}
}
