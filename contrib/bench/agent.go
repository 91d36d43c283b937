package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"edgepod.dev/agent/contrib/e2e/node"
)

// settling is how long what a start leaves behind needs to go: the agent gives memory back when nothing has happened for 10 s.
const settling = 20 * time.Second

// agent measures the agent in bin on one engine.
func (b *bench) agent(engine node.Engine, bin string, args ...string) {
	program, err := os.Stat(filepath.Join(bin, "agent"))
	if err != nil {
		b.Fatalf("looking at the program: %v", err)
	}
	b.text(rowSize, "%.1f MB", float64(program.Size())/1e6)
	n := node.New(b, node.Options{Engine: engine, Bin: bin, Args: args, Archives: []string{filepath.Join(b.dir, "stamp.tar")}})
	n.Start()
	out := b.out(n)
	b.emptyMemory(n)
	b.times(rowStart, b.starts(n, out, "pod", false))
	b.times(rowHostNet, b.starts(n, out, "host", true))
	b.times(rowRemove, b.removals(n, out))
	b.times(rowRestart, b.restarts(n, out))
	var bursts []time.Duration
	for i := range b.bursts {
		bursts = append(bursts, b.burst(n, out, fmt.Sprintf("b%d-", i), 30))
	}
	b.times(rowBurst30, bursts)
	b.times(rowBurst100, []time.Duration{b.burst(n, out, "c-", 100)})
	b.startTimes(n)
	b.adoption(n, out)
	b.idleness(n, out)
}

func (b *bench) out(n *node.Node) string {
	out := filepath.Join(n.Dir, "out")
	if err := os.MkdirAll(out, 0o777); err != nil {
		b.Fatalf("creating a directory: %v", err)
	}
	// The first pod unpacks the image.
	n.Apply(stampPod("warm", out, false))
	b.waitStamp(out, "warm", 1)
	n.Delete("warm")
	n.WaitClean()
	return out
}

// place prepares a manifest outside the directory and returns what renames it into place.
func (b *bench) place(n *node.Node, out, name string, hostNetwork bool) func() {
	tmp := filepath.Join(n.Dir, "tmp-"+name)
	if err := os.WriteFile(tmp, []byte(node.YAML(b, stampPod(name, out, hostNetwork))), 0o644); err != nil {
		b.Fatalf("writing a manifest: %v", err)
	}
	return func() {
		if err := os.Rename(tmp, filepath.Join(n.Manifests(), name+".yaml")); err != nil {
			b.Fatalf("renaming a manifest into place: %v", err)
		}
	}
}

func (b *bench) starts(n *node.Node, out, prefix string, hostNetwork bool) (samples []time.Duration) {
	for i := range b.n {
		name := fmt.Sprintf("%s%d", prefix, i)
		rename := b.place(n, out, name, hostNetwork)
		time.Sleep(200 * time.Millisecond) // quiet before each sample
		began := monotonic()
		rename()
		samples = append(samples, b.waitStamp(out, name, 1)-began)
		n.WaitRunning(name)
		n.Delete(name)
		n.WaitGone(name)
		n.WaitClean()
	}
	return samples
}

func (b *bench) removals(n *node.Node, out string) (samples []time.Duration) {
	for i := range b.n {
		name := fmt.Sprintf("remove%d", i)
		b.place(n, out, name, false)()
		n.WaitRunning(name)
		time.Sleep(200 * time.Millisecond)
		samples = append(samples, b.goneAfter(b.stampProcess(name), func() { n.Delete(name) }))
		n.WaitGone(name)
	}
	return samples
}

func (b *bench) restarts(n *node.Node, out string) (samples []time.Duration) {
	for i := range b.n {
		name := fmt.Sprintf("restart%d", i)
		b.place(n, out, name, false)()
		n.WaitRunning(name)
		time.Sleep(200 * time.Millisecond)
		pid := b.stampProcess(name)
		began := monotonic()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.Fatalf("killing process %d: %v", pid, err)
		}
		samples = append(samples, b.waitStamp(out, name, 2)-began)
		n.Delete(name)
		n.WaitGone(name)
	}
	return samples
}

// burst drops count pods and returns when the last app started, since the first rename.
func (b *bench) burst(n *node.Node, out, prefix string, count int) time.Duration {
	names := b.fill(n, out, prefix, count)
	last := names.began
	for _, name := range names.names {
		last = max(last, b.waitStamp(out, name, 1))
	}
	n.WaitRunning(names.names...)
	b.empty(n)
	return last - names.began
}

// filled is a set of pods that was dropped at once.
type filled struct {
	names []string
	began time.Duration
}

func (b *bench) fill(n *node.Node, out, prefix string, count int) (f filled) {
	var renames []func()
	for i := range count {
		name := fmt.Sprintf("%s%03d", prefix, i)
		f.names = append(f.names, name)
		renames = append(renames, b.place(n, out, name, false))
	}
	time.Sleep(500 * time.Millisecond)
	f.began = monotonic()
	for _, rename := range renames {
		rename()
	}
	return f
}

// empty removes all pods, a few at a time: the removal of most of them at once would wait for its grace.
func (b *bench) empty(n *node.Node) {
	entries, err := os.ReadDir(n.Manifests())
	if err != nil {
		b.Fatalf("reading manifests: %v", err)
	}
	for i, e := range entries {
		n.Delete(strings.TrimSuffix(e.Name(), ".yaml"))
		if i%2 == 1 {
			time.Sleep(30 * time.Millisecond)
		}
	}
	n.Within(3*time.Minute, "all pods to be gone", func() string { return strings.Join(n.Residue(), "\n") })
}

func (b *bench) startTimes(n *node.Node) {
	var samples []time.Duration
	for range b.n {
		n.Kill()
		samples = append(samples, n.Start())
	}
	b.times(rowAPI, samples)
}

func (b *bench) adoption(n *node.Node, out string) {
	f := b.fill(n, out, "adopt", 50)
	n.WaitRunning(f.names...)
	var samples []time.Duration
	for range b.n {
		n.Kill()
		began := time.Now()
		n.Launch()
		n.Eventually("all pods to be adopted", func() string {
			pods, err := n.List()
			if err != nil {
				return err.Error()
			}
			for i := range pods {
				if !node.Ready(&pods[i]) {
					return node.Describe(&pods[i])
				}
			}
			if len(pods) != len(f.names) {
				return fmt.Sprint(len(pods), " pods")
			}
			return ""
		})
		samples = append(samples, time.Since(began))
	}
	b.times(rowAdopt, samples)
	b.empty(n)
}

func (b *bench) emptyMemory(n *node.Node) {
	n.Kill()
	n.Start()
	time.Sleep(settling)
	m := memoryOf(n.Pid())
	b.text(rowAnon, "%.1f MB", float64(m.anonymous)/1000)
	b.text(rowPSS, "%.1f MB", float64(m.pss)/1000)
}

func (b *bench) idleness(n *node.Node, out string) {
	n.Kill()
	n.Start()
	time.Sleep(settling)
	before := memoryOf(n.Pid())
	f := b.fill(n, out, "idle", 30)
	n.WaitRunning(f.names...)
	time.Sleep(settling)
	after := memoryOf(n.Pid())
	var others []int
	for _, s := range n.Shims() {
		others = append(others, s.PID)
	}
	shims := memoryOf(others...)
	b.text(rowPerPod, "%.2f MB", float64(after.anonymous-before.anonymous)/30/1000)
	b.text(rowWith30, "%.1f MB", float64(after.pss)/1000)
	b.text(rowStack, "%.0f MB", float64(after.pss+shims.pss)/1000)
	b.text(rowShims, "%.2f MB", float64(shims.pss)/30/1000)
	if n.Engine == node.External {
		others = append(others, n.ContainerdPid())
	}
	agent, rest := activityOf(n.Pid()), activityOf(others...)
	time.Sleep(b.idle)
	b.text(rowCPU, "%s", activityOf(n.Pid()).over(agent, b.idle))
	b.text(rowShimCPU, "%s", activityOf(others...).over(rest, b.idle))
	b.text(rowDisk, "%d bytes in %v", activityOf(n.Pid()).written-agent.written+activityOf(others...).written-rest.written, b.idle)
	b.empty(n)
}
