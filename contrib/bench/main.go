// Command bench measures how fast and how small the agent is, on both engines, with `podman kube play` measured beside it in
// the same run: every number of the README comes from its table.
//
//	go run ./contrib/bench              # needs root; installs nothing (apt install podman busybox-static containerd runc …)
//	go run ./contrib/bench -n 20 -only embedded
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"edgepod.dev/agent/contrib/e2e/node"
	"edgepod.dev/agent/contrib/image"
)

// settings are the flags.
type settings struct {
	n      int           // samples of each time
	bursts int           // samples of dropping 30 pods at once
	idle   time.Duration // how long idleness is watched
	only   string        // which columns
	before string        // directory of an earlier build
	dir    string        // binaries and archives
}

func main() {
	var s settings
	flag.IntVar(&s.n, "n", 10, "samples of each time; the median is shown")
	flag.IntVar(&s.bursts, "bursts", 10, "samples of 30 pods at once")
	flag.DurationVar(&s.idle, "idle", time.Minute, "how long idle CPU and disk writes are watched")
	flag.StringVar(&s.only, "only", "embedded,bare,external,podman", "the columns to measure; bare is embedded without cAdvisor, before that of -before, nokube that without API-server mode")
	flag.StringVar(&s.before, "before", "", "the directory of an earlier build, with agent and shim, for the column before")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("run me as root: I run containers")
	}
	dir, err := os.MkdirTemp("", "agent-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s.dir = dir
	if err := build(dir, strings.Contains(s.only, "nokube")); err != nil {
		return err
	}
	t := newTable()
	for column := range strings.SplitSeq(s.only, ",") {
		b := &bench{settings: s, table: t, column: column}
		fmt.Fprintf(os.Stderr, "== %s\n", column)
		switch column {
		case string(node.Embedded), string(node.External):
			err = guard(b, func() { b.agent(node.Engine(column), dir) })
		case "bare":
			err = guard(b, func() { b.agent(node.Embedded, dir, "--housekeeping-interval", "0") })
		case "before":
			err = guard(b, func() { b.agent(node.Embedded, s.before) })
		case "nokube":
			err = guard(b, func() { b.agent(node.Embedded, filepath.Join(dir, "nokube")) })
		case "podman":
			err = guard(b, b.podman)
		default:
			err = fmt.Errorf("there is no column %q", column)
		}
		if err != nil {
			return fmt.Errorf("measuring %s: %w", column, err)
		}
	}
	fmt.Println(machine())
	fmt.Print(t)
	return nil
}

// build makes the programs and the image in dir, and in its subdirectory nokube those without API-server mode.
func build(dir string, nokube bool) error {
	targets := map[string]string{
		"agent": "edgepod.dev/agent", "stamp": "edgepod.dev/agent/contrib/bench/stamp",
		"containerd-shim-runc-v2": "edgepod.dev/agent/contrib/containerd-shim-runc-v2",
	}
	if nokube {
		targets["nokube/agent"] = targets["agent"]
		targets["nokube/containerd-shim-runc-v2"] = targets["containerd-shim-runc-v2"]
	}
	for name, pkg := range targets {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", tagsOf(name), "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	img, err := image.Build(image.Spec{
		Files:  []image.File{{Path: "/stamp", Source: filepath.Join(dir, "stamp")}, {Path: "/out"}},
		Config: v1.Config{Entrypoint: []string{"/stamp"}},
	})
	if err != nil {
		return err
	}
	return image.Save(filepath.Join(dir, "stamp.tar"), stampImage, img, image.Docker)
}

const stampImage = "edgepod.dev/stamp:1"

// machine says what the numbers were measured on.
func machine() string {
	line := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			return name + " ?"
		}
		first, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(first)
	}
	return fmt.Sprintf("%s, %s cores, %s; %s; %s\n", line("uname", "-sr"), line("nproc"), line("runc", "--version"),
		line("containerd", "--version"), line("podman", "--version"))
}

// bench measures one column.
type bench struct {
	settings
	table    *table
	column   string
	cleanups []func()
	failed   bool
	conf     string // podman's configuration
}

// stopped is the panic by which Fatalf leaves a measurement.
type stopped struct{ message string }

// guard runs measure, then the clean-ups, and turns Fatalf into an error.
func guard(b *bench, measure func()) (err error) {
	defer func() {
		for _, f := range slices.Backward(b.cleanups) {
			f()
		}
	}()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			err = fmt.Errorf("%s", r.message)
		default:
			panic(r)
		}
	}()
	measure()
	return nil
}

// The methods of node.T.

// Helper does nothing: there is no test to be a helper of.
func (b *bench) Helper() {}

// Logf prints to standard error.
func (b *bench) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, "   "+format+"\n", args...) }

// Errorf prints and marks the measurement as failed.
func (b *bench) Errorf(format string, args ...any) {
	b.failed = true
	b.Logf(format, args...)
}

// Fatalf ends the column.
func (b *bench) Fatalf(format string, args ...any) {
	b.failed = true
	panic(stopped{fmt.Sprintf(format, args...)})
}

// Failed says whether Errorf or Fatalf was called.
func (b *bench) Failed() bool { return b.failed }

// Cleanup runs f at the end, last first.
func (b *bench) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

// tagsOf are the build tags of a target: its directory.
func tagsOf(target string) string {
	if dir := filepath.Dir(target); dir != "." {
		return dir
	}
	return ""
}
