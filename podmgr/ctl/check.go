package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// CheckOptions say what the box is to be fit for: the settings of `agent run`, of which empty ones are not looked at.
type CheckOptions struct {
	Output     string // "", json or yaml
	Root       string
	State      string
	Manifests  []string
	CNIBinDirs []string
	Runtime    string // of containers; empty means runc
	Containerd string // socket of a containerd that runs already; empty means the embedded one
}

// Status of a finding.
const (
	statusOK   = "ok"
	statusWarn = "warn" // it works, with less safety or comfort
	statusFail = "fail" // pods will not run, or not safely
)

// Finding is what was found about one property of the box.
type Finding struct {
	Name    string `json:"name"`
	Status  string `json:"status"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do about it
}

// errUnfit is the result of a check that found a failure; it is printed already.
var errUnfit = errors.New("this machine is not fit to run pods")

// Check looks whether this machine is fit for the agent. It needs no agent, changes nothing, and returns an error when
// anything has failed.
func Check(ctx context.Context, s Streams, o CheckOptions) error {
	return check(ctx, s, o, newMachine())
}

func check(ctx context.Context, s Streams, o CheckOptions, m *machine) error {
	if !slices.Contains([]string{"", "json", "yaml"}, o.Output) {
		return UsageError(fmt.Sprintf("output %q is neither json nor yaml", o.Output))
	}
	findings := m.findings(ctx, o)
	failed := slices.ContainsFunc(findings, func(f Finding) bool { return f.Status == statusFail })
	if o.Output != "" {
		if err := printObject(s.Out, o.Output, map[string]any{"fit": !failed, "findings": findings}); err != nil {
			return err
		}
	} else {
		t := table{paint: painter(s.Out)}
		for _, f := range findings {
			text := f.Message
			if f.Hint != "" {
				text += ": " + f.Hint
			}
			t.add(f.Status, f.Name, oneLine(text))
		}
		if err := t.flush(s.Out); err != nil {
			return err
		}
	}
	if failed {
		return errUnfit
	}
	return nil
}

// machine is what a check looks at; a test has one of its own.
type machine struct {
	fs  string // where the root of the file system is, "/"
	run func(ctx context.Context, name string, args ...string) (string, error)
}

func newMachine() *machine {
	return &machine{fs: "/", run: func(ctx context.Context, name string, args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}}
}

func (m *machine) path(p string) string { return filepath.Join(m.fs, p) }

// read is a file's text without the space around it; empty when it cannot be read.
func (m *machine) read(p string) string {
	b, err := os.ReadFile(m.path(p))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (m *machine) exists(p string) bool {
	_, err := os.Stat(m.path(p))
	return err == nil
}

// findings looks at everything, in the order in which a person would mend it.
func (m *machine) findings(ctx context.Context, o CheckOptions) (out []Finding) {
	for _, look := range []func(context.Context, CheckOptions) []Finding{
		m.user, m.kernel, m.cgroups, m.namespaces, m.overlay, m.seccomp, m.iptables, m.forwarding, m.cni, m.runtime, m.shim,
		m.disk, m.inotify, m.clock, m.hostname, m.manifests, m.directories,
	} {
		out = append(out, look(ctx, o)...)
	}
	return out
}

func ok(name, format string, args ...any) []Finding {
	return []Finding{{Name: name, Status: statusOK, Message: fmt.Sprintf(format, args...)}}
}

func warn(name, message, hint string) []Finding {
	return []Finding{{Name: name, Status: statusWarn, Message: message, Hint: hint}}
}

func fail(name, message, hint string) []Finding {
	return []Finding{{Name: name, Status: statusFail, Message: message, Hint: hint}}
}
