package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"edgepod.dev/agent/contrib/e2e/node"
)

// podman measures `podman kube play` with the same pods.
func (b *bench) podman() {
	dir, err := os.MkdirTemp("", "agent-bench-podman-")
	if err != nil {
		b.Fatalf("creating a directory: %v", err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	b.limits(dir)
	b.volatile("/run/containers", "/run/libpod", "/run/runc", "/run/netns")
	b.run("load", "-i", filepath.Join(b.dir, "stamp.tar"))
	b.Cleanup(func() {
		b.run("rmi", "-f", stampImage)
		// What podman made for itself on the way.
		for _, args := range [][]string{{"image", "prune", "-f"}, {"network", "rm", "-f", "podman-default-kube-network"}} {
			_ = exec.Command("podman", args...).Run()
		}
		_ = exec.Command("sh", "-c", "podman rmi -f $(podman images -q localhost/podman-pause); ip link delete cni-podman1").Run()
	})
	b.play(dir, "warm", false)
	b.down(dir, "warm")
	b.times(rowStart, b.plays(dir, "pod", false))
	b.times(rowHostNet, b.plays(dir, "host", true))
	var removals, restarts []time.Duration
	for i := range b.n {
		name := fmt.Sprintf("gone%d", i)
		b.play(dir, name, false)
		removals = append(removals, b.goneAfter(b.stampProcess(name), func() { b.down(dir, name) }))
	}
	b.times(rowRemove, removals)
	for i := range b.n {
		name := fmt.Sprintf("again%d", i)
		b.play(dir, name, false)
		pid := b.stampProcess(name)
		began := monotonic()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.Fatalf("killing process %d: %v", pid, err)
		}
		restarts = append(restarts, b.waitStamp(dir, name, 2)-began)
		b.down(dir, name)
	}
	b.times(rowRestart, restarts)
	b.podmanIdle(dir)
}

// volatile puts a tmpfs on directories, as /run is one on a real machine and as the agent's state directory is one here.
func (b *bench) volatile(dirs ...string) {
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatalf("creating a directory: %v", err)
		}
		if err := unix.Mount("tmpfs", d, "tmpfs", 0, "mode=755"); err != nil {
			b.Fatalf("mounting a tmpfs on %s: %v", d, err)
		}
		b.Cleanup(func() { _ = unix.Unmount(d, unix.MNT_DETACH) })
	}
}

// limits keeps podman within our own limits: it asks for more files and processes than a machine without
// CAP_SYS_RESOURCE may give, and starts nothing then.
func (b *bench) limits(dir string) {
	var files, procs unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		b.Fatalf("reading limits: %v", err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &procs); err != nil {
		b.Fatalf("reading limits: %v", err)
	}
	procs.Max = min(procs.Max, 32*1024) // what podman gives itself before it starts runc
	text := fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%d:%d\", \"nproc=%d:%d\"]\n", files.Max, files.Max, procs.Max, procs.Max)
	b.conf = filepath.Join(dir, "containers.conf")
	if err := os.WriteFile(b.conf, []byte(text), 0o644); err != nil {
		b.Fatalf("writing podman's configuration: %v", err)
	}
}

// podmanIdle plays 30 pods at once (one file, one command), once: it takes long.
func (b *bench) podmanIdle(dir string) {
	var docs []string
	for i := range 30 {
		docs = append(docs, node.YAML(b, stampPod(fmt.Sprintf("idle%02d", i), dir, false)))
	}
	file := filepath.Join(dir, "all.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(docs, "---\n")), 0o644); err != nil {
		b.Fatalf("writing a manifest: %v", err)
	}
	began := monotonic()
	b.run("kube", "play", file)
	last := began
	for i := range 30 {
		last = max(last, b.waitStamp(dir, fmt.Sprintf("idle%02d", i), 1))
	}
	b.times(rowBurst30, []time.Duration{last - began})
	time.Sleep(20 * time.Second)
	conmons := pidsOf("conmon")
	b.text(rowPerPod, "0 MB")
	b.text(rowWith30, "0 MB")
	b.text(rowStack, "%.0f MB", float64(memoryOf(conmons...).pss)/1000)
	b.text(rowShims, "%.2f MB", float64(memoryOf(conmons...).pss)/30/1000)
	before := activityOf(conmons...)
	time.Sleep(b.idle)
	after := activityOf(conmons...)
	b.text(rowShimCPU, "%s", after.over(before, b.idle))
	b.text(rowDisk, "%d bytes in %v", after.written-before.written, b.idle)
	b.run("kube", "down", file)
}

func (b *bench) plays(dir, prefix string, hostNetwork bool) (samples []time.Duration) {
	for i := range b.n {
		name := fmt.Sprintf("%s%d", prefix, i)
		samples = append(samples, b.play(dir, name, hostNetwork))
		b.down(dir, name)
	}
	return samples
}

// play starts one pod and returns the time from the command's begin to the app's first instruction.
func (b *bench) play(dir, name string, hostNetwork bool) time.Duration {
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(node.YAML(b, stampPod(name, dir, hostNetwork))), 0o644); err != nil {
		b.Fatalf("writing a manifest: %v", err)
	}
	time.Sleep(200 * time.Millisecond)
	began := monotonic()
	b.run("kube", "play", filepath.Join(dir, name+".yaml"))
	return b.waitStamp(dir, name, 1) - began
}

func (b *bench) down(dir, name string) { b.run("kube", "down", filepath.Join(dir, name+".yaml")) }

// run runs podman. Version 4.3 warns about cgroups on machines like ours, so only its exit code counts.
func (b *bench) run(args ...string) {
	cmd := exec.Command("podman", args...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+b.conf)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("running podman %q: %v\n%s", args, err, out)
	}
}
