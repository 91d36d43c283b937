package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Engine says which containerd a node runs on.
type Engine string

const (
	// Embedded is the agent's own containerd, in its process.
	Embedded Engine = "embedded"
	// External is a containerd of the machine's package, started for this node alone.
	External Engine = "external"
)

// Options shape a node; the zero value is an embedded engine with the agent's defaults.
type Options struct {
	Engine Engine
	// Bin is the directory that holds agent and its shim.
	Bin string
	// Args are added to `agent run`.
	Args []string
	// Archives are image archives put into the import directory before the agent starts.
	Archives []string
}

// Node is one agent with everything that belongs to it. Its methods are for one goroutine.
type Node struct {
	Options
	// Dir holds all directories of the node: manifests, root, state, logs, images, certs.
	Dir string
	// Bridge, CIDR and CgroupRoot are the node's own; Subnet is the CIDR's prefix as it starts each pod address.
	Bridge, CIDR, Subnet, CgroupRoot string

	t          T
	http       *http.Client
	agent      *exec.Cmd
	ended      chan struct{} // closed when agent has ended
	containerd *exec.Cmd
	starts     int
}

// numbers gives each node of this process a number; the process takes a block of its own by its PID.
var numbers atomic.Int64

// New makes a node; nothing runs yet. At the end of the test its pods are removed, the machine is compared with what it
// was, and everything of the node is cleared away.
func New(t T, o Options) *Node {
	t.Helper()
	if o.Engine == "" {
		o.Engine = Embedded
	}
	n := &Node{Options: o, t: t}
	dir, err := os.MkdirTemp("", "agent-")
	if err != nil {
		t.Fatalf("creating the node's directory: %v", err)
	}
	n.Dir = dir
	id := (int64(os.Getpid())*64 + numbers.Add(1)) % (60 * 250)
	n.Bridge = fmt.Sprintf("ae%d", id)
	n.Subnet = fmt.Sprintf("10.%d.%d.", 190+id/250, id%250)
	n.CIDR = n.Subnet + "0/24"
	n.CgroupRoot = "/agent-e2e-" + strconv.FormatInt(id, 10)
	for _, d := range []string{n.Manifests(), n.Images(), n.Certs(), n.Root()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatalf("creating the node's directories: %v", err)
		}
	}
	n.freshState()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), nil, 0o600); err != nil {
		t.Fatalf("writing an empty configuration: %v", err)
	}
	for _, a := range o.Archives {
		n.DropImage(a)
	}
	n.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: n.dial,
	}}
	t.Cleanup(n.clear)
	if o.Engine == External {
		n.StartContainerd()
	}
	return n
}

// Manifests is the directory the agent reads pods from.
func (n *Node) Manifests() string { return filepath.Join(n.Dir, "manifests") }

// Root is the persistent directory of the agent.
func (n *Node) Root() string { return filepath.Join(n.Dir, "root") }

// State is the directory that a reboot empties, a tmpfs as /run is.
func (n *Node) State() string { return filepath.Join(n.Dir, "run") }

// containerdState is that of the external containerd, a tmpfs too.
func (n *Node) containerdState() string { return filepath.Join(n.Dir, "cd") }

// freshState makes the directories that live in memory.
func (n *Node) freshState() {
	n.t.Helper()
	for _, d := range []string{n.State(), n.containerdState()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			n.t.Fatalf("creating a state directory: %v", err)
		}
		if err := syscall.Mount("tmpfs", d, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
			n.t.Fatalf("mounting a tmpfs on %s: %v", d, err)
		}
	}
}

// Logs is the directory of the pods' logs.
func (n *Node) Logs() string { return filepath.Join(n.Dir, "logs") }

// Images is the directory that image archives are dropped into.
func (n *Node) Images() string { return filepath.Join(n.Dir, "images") }

// Certs is the certs.d directory: registry hosts.
func (n *Node) Certs() string { return filepath.Join(n.Dir, "certs.d") }

// Socket is the agent's control socket.
func (n *Node) Socket() string { return filepath.Join(n.State(), "agent.sock") }

// AgentLog is the file of the agent's own log, all starts in one.
func (n *Node) AgentLog() string { return filepath.Join(n.Dir, "agent.log") }

// ContainerdSocket is where the node's containerd listens, whichever engine it is.
func (n *Node) ContainerdSocket() string {
	if n.Engine == External {
		return filepath.Join(n.containerdState(), "containerd.sock")
	}
	return filepath.Join(n.State(), "containerd", "containerd.sock")
}

// RunArgs are the arguments of `agent run` on this node.
func (n *Node) RunArgs() []string {
	args := []string{
		"run", "--config", filepath.Join(n.Dir, "config.yaml"), "--manifests", n.Manifests(), "--root", n.Root(), "--state", n.State(),
		"--pod-logs", n.Logs(), "--images", n.Images(), "--registry-config", n.Certs(), "--cgroup-root", n.CgroupRoot,
		"--cni-conf-dir", filepath.Join(n.Dir, "cni"), "--bridge", n.Bridge, "--pod-cidr", n.CIDR,
		"--hostname-override", "e2e", "--log-format", "json",
	}
	if n.Engine == External {
		args = append(args, "--containerd", n.ContainerdSocket())
	}
	return append(args, n.Args...)
}

// Use makes t, a subtest of the node's test, the one that fails, until it ends.
func (n *Node) Use(t T) {
	before := n.t
	n.t = t
	t.Cleanup(func() { n.t = before })
}

// With is the node as another test, t, uses it beside this one, to look and to write; the agent's life stays here.
func (n *Node) With(t T) *Node {
	other := *n
	other.t = t
	return &other
}

// Start runs the agent and returns when its API answers, and how long that took. The first start also waits for the
// images that were dropped before it.
func (n *Node) Start() (took time.Duration) {
	n.t.Helper()
	begin := time.Now()
	n.Launch()
	if n.starts == 1 {
		defer n.waitImports()
	}
	for deadline := begin.Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := n.List(); err == nil {
			return time.Since(begin)
		} else if time.Now().After(deadline) {
			n.t.Fatalf("the agent did not answer within 20 s: %v\n%s", err, n.tail())
		}
		select {
		case <-n.ended:
			n.t.Fatalf("the agent ended at its start: %v\n%s", n.agent.ProcessState, n.tail())
		default:
		}
	}
}

// Launch runs the agent and returns at once.
func (n *Node) Launch() {
	n.t.Helper()
	if n.agent != nil {
		n.t.Fatalf("the agent runs already")
	}
	log, err := os.OpenFile(n.AgentLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatalf("opening the agent's log: %v", err)
	}
	defer func() { _ = log.Close() }()
	n.starts++
	fmt.Fprintf(log, "--- start %d\n", n.starts)
	n.agent, n.ended = n.command(log, filepath.Join(n.Bin, "agent"), n.RunArgs()...)
}

// command starts a process of the node that dies with the test.
func (n *Node) command(log *os.File, name string, args ...string) (*exec.Cmd, chan struct{}) {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		n.t.Fatalf("starting %s: %v", name, err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	return cmd, ended
}

// Pid is the agent's process.
func (n *Node) Pid() int { return n.agent.Process.Pid }

// Running says whether the agent's process lives.
func (n *Node) Running() bool {
	if n.agent == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// Kill ends the agent with SIGKILL.
func (n *Node) Kill() { n.signal(syscall.SIGKILL) }

// Stop ends the agent with SIGTERM, which leaves the pods alone.
func (n *Node) Stop() { n.signal(syscall.SIGTERM) }

func (n *Node) signal(s syscall.Signal) {
	n.t.Helper()
	if n.agent == nil {
		return
	}
	_ = n.agent.Process.Signal(s)
	select {
	case <-n.ended:
	case <-time.After(20 * time.Second):
		_ = n.agent.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		_ = n.agent.Process.Kill()
		<-n.ended
		n.t.Errorf("the agent was still there 20 s after %v\n%s", s, n.tail())
	}
	n.agent = nil
}

// Agent runs a client command of the agent binary against this node and returns its output and exit code.
func (n *Node) Agent(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	cmd := exec.Command(filepath.Join(n.Bin, "agent"), append([]string{"--socket", n.Socket()}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatalf("running agent %q: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// MustAgent is Agent for commands that have to succeed.
func (n *Node) MustAgent(args ...string) string {
	n.t.Helper()
	out, errs, code := n.Agent(args...)
	if code != 0 {
		n.t.Fatalf("agent %q ended with %d: %s%s", args, code, out, errs)
	}
	return out
}

// tail is the end of the agent's log, for messages.
func (n *Node) tail() string {
	b, _ := os.ReadFile(n.AgentLog())
	if len(b) > 6000 {
		b = b[len(b)-6000:]
	}
	return string(b)
}

// FreePort is a TCP port that nobody listens on.
func FreePort(t T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
