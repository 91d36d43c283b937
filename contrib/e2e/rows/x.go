package rows

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// X is a row on a node: what its Look sees and asks. It collects what is wrong, as a node.T of its own, for rows are
// looked at side by side. Its methods are for one goroutine.
type X struct {
	Row Row
	// Side says that the row's container is a sidecar here.
	Side bool
	// Name is the pod's, Out its directory on the host, Port a free port of the host.
	Name, Out string
	Port      int
	// Again says that the agent was killed and started since the first look.
	Again bool
	// First is the pod's status at the first look.
	First *v1.Pod

	node   *node.Node
	board  *board
	wrong  []string
	broken bool // looked at in vain once: not looked at again
	server *server
}

// Helper implements node.T.
func (x *X) Helper() {}

// Logf implements node.T.
func (x *X) Logf(format string, args ...any) { x.wrong = append(x.wrong, fmt.Sprintf(format, args...)) }

// Errorf implements node.T.
func (x *X) Errorf(format string, args ...any) {
	x.broken = true
	x.wrong = append(x.wrong, fmt.Sprintf(format, args...))
}

// Fatalf implements node.T: it ends the look.
func (x *X) Fatalf(format string, args ...any) {
	x.Errorf(format, args...)
	runtime.Goexit()
}

// Failed implements node.T.
func (x *X) Failed() bool { return x.broken }

// Cleanup implements node.T; nothing of a row outlives its node.
func (x *X) Cleanup(func()) {}

// Node is the node that the row runs on.
func (x *X) Node() *node.Node { return x.node }

// Pod is the pod as the agent shows it, at most a moment old; nil when there is none.
func (x *X) Pod() *v1.Pod {
	p, err := x.board.pod(x.Name)
	if err != nil {
		x.Fatalf("listing pods: %v", err)
	}
	return p
}

// Status is what the agent says of a container.
func (x *X) Status(container string) v1.ContainerStatus {
	p := x.Pod()
	if p == nil {
		x.Fatalf("the agent does not know the pod")
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if c.Name == container {
			return c
		}
	}
	x.Fatalf("the pod has no container %q", container)
	return v1.ContainerStatus{}
}

// patience is how long a row waits for anything: the others start, or end, at the same time.
const patience = 2 * node.Patience

// Eventually polls ok until it returns "", and ends the look with its last words otherwise.
func (x *X) Eventually(what string, ok func() string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		last := ok()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			x.Fatalf("waited %v for %s: %s", patience, what, last)
		}
	}
}

// Want compares.
func (x *X) Want(what string, got, want any) {
	if diff := cmp.Diff(want, got); diff != "" {
		x.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Contains looks for words in a text.
func (x *X) Contains(what, got string, words ...string) {
	for _, w := range words {
		if !strings.Contains(got, w) {
			x.Errorf("%s has no %q:\n%s", what, w, got)
		}
	}
}

// Exec runs a shell script in the container "app" by `agent exec` and returns what it prints.
func (x *X) Exec(script string) string { return x.ExecIn("app", script) }

// ExecIn is Exec in a container by name.
func (x *X) ExecIn(container, script string) string {
	return x.agent("", "exec", "-n", x.namespace(), x.Name, "-c", container, "--", "sh", "-c", script)
}

// attach writes to the container's stdin by `agent attach`, until the input ends.
func (x *X) attach(input string) {
	x.agent(input, "attach", "-i", "-n", x.namespace(), x.Name, "-c", "app")
}

// agent runs a client command of the agent that has to succeed, for as long as anything is waited for.
func (x *X) agent(input string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(x.node.Bin, "agent"), append([]string{"--socket", x.node.Socket()}, args...)...)
	var errs strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), &errs
	out, err := cmd.Output()
	if err != nil {
		x.Fatalf("agent %q: %v: %s%s", args, err, out, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func (x *X) namespace() string {
	if p := x.Pod(); p != nil {
		return p.Namespace
	}
	return "default"
}

// Read is a file of the pod's directory /out, without blanks at the ends; empty when there is none.
func (x *X) Read(name string) string {
	b, _ := os.ReadFile(filepath.Join(x.Out, name))
	return strings.TrimSpace(string(b))
}

// Put makes a file in the pod's directory /out.
func (x *X) Put(name, text string) {
	if err := os.WriteFile(filepath.Join(x.Out, name), []byte(text), 0o666); err != nil {
		x.Fatalf("%v", err)
	}
}

// Count is the number of lines in a file of /out: containers count with echo.
func (x *X) Count(name string) int {
	b, _ := os.ReadFile(filepath.Join(x.Out, name))
	return strings.Count(string(b), "\n")
}

// PID is the first process of the container "app".
func (x *X) PID() int { return x.PIDOf("app") }

// PIDOf is the first process of a container.
func (x *X) PIDOf(container string) int {
	id := x.Status(container).ContainerID
	id = id[strings.LastIndexByte(id, '/')+1:]
	var first node.Process
	for _, p := range x.node.Processes() {
		if id != "" && strings.Contains(p.Cgroup, id) && (first.PID == 0 || p.Start < first.Start || p.Start == first.Start && p.PID < first.PID) {
			first = p
		}
	}
	if first.PID == 0 {
		x.Fatalf("container %s (%q) has no process", container, id)
	}
	return first.PID
}

// Proc reads a file of the container's first process in /proc.
func (x *X) Proc(file string) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(x.PID()), file))
	if err != nil {
		x.Fatalf("%v", err)
	}
	return string(b)
}

// ProcStatus is a field of /proc/PID/status.
func (x *X) ProcStatus(key string) string {
	for line := range strings.Lines(x.Proc("status")) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	x.Fatalf("/proc/PID/status has no %s", key)
	return ""
}

// Namespace is the identity of a namespace of the container, such as "net".
func (x *X) Namespace(kind string) string { return namespaceOf(x, strconv.Itoa(x.PID()), kind) }

// HostNamespace is the identity of a namespace of the host.
func (x *X) HostNamespace(kind string) string { return namespaceOf(x, "self", kind) }

func namespaceOf(x *X, pid, kind string) string {
	link, err := os.Readlink(filepath.Join("/proc", pid, "ns", kind))
	if err != nil {
		x.Fatalf("%v", err)
	}
	return link
}

// Mount is the line of /proc/PID/mountinfo of what is mounted at path in the container "app", the topmost; empty when
// nothing is.
func (x *X) Mount(path string) string {
	found := ""
	for line := range strings.Lines(x.Proc("mountinfo")) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == path {
			found = strings.TrimSpace(line)
		}
	}
	return found
}
