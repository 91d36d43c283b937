package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// StartContainerd runs the machine's containerd for this node and returns when it answers.
func (n *Node) StartContainerd() {
	n.t.Helper()
	dir := n.containerdState()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatalf("creating containerd's directory: %v", err)
	}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`, filepath.Join(n.Dir, "cd-root"), filepath.Join(dir, "state"), n.ContainerdSocket(), n.ContainerdSocket()+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		n.t.Fatalf("writing containerd's configuration: %v", err)
	}
	log, err := os.OpenFile(filepath.Join(n.Dir, "containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatalf("opening containerd's log: %v", err)
	}
	defer func() { _ = log.Close() }()
	n.containerd, _ = n.command(log, "/usr/bin/containerd", "--config", config)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", n.ContainerdSocket())
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(log.Name())
			n.t.Fatalf("containerd did not answer within 20 s: %v\n%s", err, b)
		}
	}
}

// KillContainerd ends the node's external containerd with SIGKILL; shims and containers live on.
func (n *Node) KillContainerd() {
	n.t.Helper()
	if n.containerd == nil {
		return
	}
	_ = n.containerd.Process.Signal(syscall.SIGKILL)
	for deadline := time.Now().Add(10 * time.Second); alive(n.containerd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("containerd is still there 10 s after SIGKILL")
		}
	}
	n.containerd = nil
}

func (n *Node) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", n.Socket())
}

// ContainerdPid is the process of the node's external containerd.
func (n *Node) ContainerdPid() int { return n.containerd.Process.Pid }
