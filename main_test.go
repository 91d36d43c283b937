package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "edgepod.dev/agent"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Name                         string
	Imports, TestImports, XTestImports, Deps []string
}

// room is the package's path in this module, "main.go" for the root.
func (p pkg) room() string {
	if p.ImportPath == module {
		return "main.go"
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Imports,TestImports,XTestImports,Deps", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v\n%s", err, stderr.String())
	}
	var ours []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ours
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		if within(p.ImportPath, module) {
			ours = append(ours, p)
		}
	}
}

// within says whether path is root or lies below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func withinAny(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return within(path, r) })
}

// TestOnlyTheRoomsAllowedImportALibrary holds the direct imports of architecture.md, "Who may import whom".
func TestOnlyTheRoomsAllowedImportALibrary(t *testing.T) {
	rules := []struct {
		library string
		rooms   []string
		why     string
	}{
		{
			"github.com/containerd/containerd/v2",
			[]string{"podmgr/containerd", "contrib/e2e", "contrib/bench", "contrib/containerd-shim-runc-v2"},
			"the engine can be replaced, and its error types never leave the adapter (the end-to-end tests look at it with their own eyes, the shim is its own program)",
		},
		{"github.com/containerd/go-cni", []string{"podmgr/containerd"}, "pod networks belong to the engine's sandbox"},
		{
			"k8s.io/client-go",
			[]string{"watcher/kube", "contrib/e2e"},
			"only API-server mode may pay for client-go (the end-to-end tests use it as kubectl does)",
		},
		{"github.com/google/cadvisor", []string{"metrics"}, "cAdvisor has global state and many dependencies: one door"},
		{"github.com/fsnotify/fsnotify", []string{"watcher/dir"}, "files reach the agent by one source"},
		{"github.com/urfave/cli/v2", []string{"main.go"}, "flags are turned into plain configs at the door"},
		{"github.com/urfave/cli", []string{"main.go"}, "flags are turned into plain configs at the door"},
		{"k8s.io/kubernetes", []string{"manifests"}, "defaults and validation happen once, when a document is decoded"},
	}
	for _, p := range listPackages(t) {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for _, r := range rules {
				if within(imp, r.library) && !withinAny(p.room(), r.rooms) {
					t.Errorf("%s imports %s, which only %s may: %s", p.room(), imp, strings.Join(r.rooms, ", "), r.why)
				}
			}
		}
	}
}

// TestNoRoomReachesWhatItMustNotKnow holds the arrows between rooms, through any number of packages.
func TestNoRoomReachesWhatItMustNotKnow(t *testing.T) {
	rules := []struct {
		rooms, banned []string
		why           string
	}{
		{
			[]string{"manifests"},
			[]string{module + "/watcher", module + "/podmgr", module + "/health", module + "/metrics", module + "/contrib"},
			"manifests is a leaf: what is wanted does not depend on how it is made so",
		},
		{
			[]string{"watcher", "health", "metrics"},
			[]string{module + "/podmgr"},
			"sources, probes and collectors serve the pod manager and cannot tell who uses them",
		},
		{
			[]string{"podmgr"},
			[]string{module + "/watcher", module + "/metrics"},
			"the pod manager cannot tell where wants come from nor who reads the board",
		},
		{
			[]string{"podmgr/server", "podmgr/ctl", "podmgr/fake", "podmgr/logs", "podmgr/volume", "watcher", "manifests", "health"},
			[]string{"github.com/containerd/containerd/v2", module + "/podmgr/containerd"},
			"everything but the adapter works with any engine, and is tested without one",
		},
		{[]string{"podmgr/ctl"}, []string{module + "/podmgr/server"}, "client and server share types, not code paths"},
	}
	all := listPackages(t)
	for _, p := range all {
		for _, r := range rules {
			if !withinAny(p.room(), r.rooms) {
				continue
			}
			for _, dep := range p.Deps {
				if withinAny(dep, r.banned) {
					t.Errorf("%s reaches %s: %s", p.room(), dep, r.why)
				}
			}
		}
		// The root package of podmgr is the port itself; its sub-packages are adapters with rules of their own.
		if p.room() == "podmgr" {
			for _, dep := range p.Deps {
				if within(dep, "github.com/containerd/containerd/v2") || within(dep, module+"/podmgr/containerd") {
					t.Errorf("podmgr reaches %s: the pod manager knows its engine only as a Runtime", dep)
				}
			}
		}
	}
}

// TestABuildWithoutAPIServerModeLeavesTheClientOut also sees to it that the build is one.
func TestABuildWithoutAPIServerModeLeavesTheClientOut(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("go", "vet", "-tags", "nokube", ".").CombinedOutput(); err != nil {
		t.Fatalf("it does not build: %v\n%s", err, out)
	}
	out, err := exec.Command("go", "list", "-deps", "-tags", "nokube", ".").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	for p := range strings.Lines(string(out)) {
		if p = strings.TrimSpace(p); withinAny(p, []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/rest", "k8s.io/client-go/tools/cache"}) {
			t.Errorf("it has %s", p)
		}
	}
}

// TestRootHoldsTheNamesThatArePrescribed: rooms are few, and everybody knows them.
func TestRootHoldsTheNamesThatArePrescribed(t *testing.T) {
	want := strings.Fields("main.go main_test.go manifests watcher podmgr health metrics contrib go.mod go.sum README.md LICENSE")
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		// bin is where contrib/ builds to, and is not committed.
		if !strings.HasPrefix(e.Name(), ".") && e.Name() != "bin" {
			got = append(got, e.Name())
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%s lies at the root: it belongs in one of the rooms", name)
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s is missing at the root", name)
		}
	}
}

// TestNoFileIsTooLongToRead: a file holds one idea.
func TestNoFileIsTooLongToRead(t *testing.T) {
	const limit = 500
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || path == "bin"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := 0
		for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); lines++ {
			if strings.HasPrefix(s.Text(), "// Code generated ") {
				return nil
			}
		}
		if lines > limit {
			t.Errorf("%s has %d lines, more than %d: split it", path, lines, limit)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
