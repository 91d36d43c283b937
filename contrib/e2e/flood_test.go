package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// flood is a pod that prints a file of numbered lines as fast as it can, whenever it is told to.
type flood struct {
	t    *testing.T
	n    *node.Node
	dir  string // shared with the container
	logs string
}

const (
	floodLines  = 100_000 // of 100 bytes, in one file
	floodTimes  = 15      // how often it is printed
	floodBudget = 5 * 10 << 20
	// missing is what the agent prints where a follower was too slow.
	missing = "[agent] output is missing here"
)

func newFlood(t *testing.T, n *node.Node) *flood {
	t.Helper()
	f := &flood{t: t, n: n, dir: filepath.Join(n.Dir, "flood")}
	var text bytes.Buffer
	for i := range floodLines {
		fmt.Fprintf(&text, "%09d %s\n", i, strings.Repeat("x", 89))
	}
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "lines"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p := node.Pod("flood", `now() { cut -d' ' -f1 /proc/uptime; }
		while sleep 0.02; do for go in /go/*.go; do [ -e $go ] || continue
			name=$(basename $go .go); read times to pause <$go; rm $go
			now >/go/$name.times
			if [ $to = pipe ]; then while [ $times -gt 0 ]; do cat /go/lines; times=$((times-1)); done | cat >/dev/null
			else while [ $times -gt 0 ]; do cat /go/lines; sleep $pause; times=$((times-1)); done; echo end of $name; fi
			now >>/go/$name.times; mv /go/$name.times /go/$name.done
		done; done`)
	p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: "go", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: f.dir}}})
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: "go", MountPath: "/go"})
	n.Apply(p)
	n.WaitRunning("flood")
	f.logs = filepath.Join(n.Logs(), "default_flood_"+mustUID(t, n, "flood"), "app")
	return f
}

// begin tells the container to print its file, to its log or to a program beside it, with pauses of so many seconds.
func (f *flood) begin(name, to, pause string) {
	f.t.Helper()
	tmp := filepath.Join(f.dir, name)
	err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %s %s\n", floodTimes, to, pause), 0o600)
	if err == nil {
		err = os.Rename(tmp, tmp+".go")
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// rate waits until that is done and returns the container's own MB/s.
func (f *flood) rate(name string) float64 {
	f.t.Helper()
	var from, to float64
	f.n.Within(2*time.Minute, "the container to have printed", func() string {
		b, err := os.ReadFile(filepath.Join(f.dir, name+".done"))
		if err != nil {
			return err.Error()
		}
		if _, err := fmt.Sscan(string(b), &from, &to); err != nil {
			return err.Error()
		}
		return ""
	})
	return floodTimes * floodLines * 100 / 1e6 / max(to-from, 0.01)
}

// follower is one `agent logs -f` of the flood.
type follower struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *bufio.Scanner
	next int // the number that the next line has; -1: any
	gaps int
}

// follow begins after the last line there is, which it waits for.
func (f *flood) follow() *follower {
	t := f.t
	t.Helper()
	w := &follower{t: t, cmd: exec.Command(filepath.Join(built.bin, "agent"), "--socket", f.n.Socket(), "logs", "-f", "--tail", "1", "flood")}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill(); _ = w.cmd.Wait() })
	w.out = bufio.NewScanner(out)
	w.out.Buffer(make([]byte, 1<<20), 1<<20)
	if !w.out.Scan() || !strings.HasPrefix(w.out.Text(), "end of ") {
		t.Fatalf("the follower began with %q", w.out.Text())
	}
	return w
}

// until reads to the end of what was begun by that name, and returns how many lines came in which time: each comes after
// the one before it, but where the agent says that some are missing.
func (w *follower) until(name string) (lines int, took time.Duration, whole bool) {
	w.t.Helper()
	var began time.Time
	for w.out.Scan() {
		if began.IsZero() {
			began = time.Now()
		}
		line := w.out.Bytes()
		switch {
		case string(line) == "end of "+name:
			return lines, time.Since(began), true
		case bytes.HasPrefix(line, []byte(missing)):
			w.gaps++
			w.next = -1
			continue
		}
		if len(line) != 99 {
			w.t.Fatalf("a line is torn: %q", line)
		}
		i, err := strconv.Atoi(string(line[:9]))
		if err != nil {
			w.t.Fatalf("a line is torn: %q", line)
		}
		if w.next >= 0 && i != w.next {
			w.t.Fatalf("line %d comes where %d should", i, w.next)
		}
		w.next = (i + 1) % floodLines
		lines++
	}
	return lines, time.Since(began), false
}

// sampled is the most that the container's log files take together from now on until the returned function is called.
func (f *flood) sampled() (most func() int64) {
	sum, stop, stopped := int64(0), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			now := int64(0)
			entries, _ := os.ReadDir(f.logs)
			for _, e := range entries {
				if i, err := e.Info(); err == nil {
					now += i.Size()
				}
			}
			sum = max(sum, now)
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(stop); <-stopped; return sum }
}

// heard is how one follower fared.
type heard struct {
	rate  float64 // MB/s
	gaps  int
	whole bool // the end came
}

// hear reads what was begun by that name to its end.
func (w *follower) hear(name string) heard {
	w.t.Helper()
	gaps := w.gaps
	lines, took, whole := w.until(name)
	h := heard{rate: float64(lines) * 100 / 1e6 / took.Seconds(), gaps: w.gaps - gaps, whole: whole}
	if whole && h.gaps == 0 && lines != floodTimes*floodLines {
		w.t.Errorf("%d of %d lines came, and nothing was said to be missing", lines, floodTimes*floodLines)
	}
	return h
}

// TestAFloodIsFollowedAndBounded: a container prints as fast as it can, and at about 100 MB/s, alone, followed, and followed
// by somebody who has stopped reading. It is never made to wait for a follower, its files stay within the budget at every
// moment, and who follows sees each line once or is told that some are missing.
func TestAFloodIsFollowedAndBounded(t *testing.T) {
	n := embeddedOnly(t)
	n.Start()
	f := newFlood(t, n)
	most := f.sampled()
	f.begin("before", "pipe", "0")
	before := f.rate("before")
	f.begin("alone", "log", "0")
	alone := f.rate("alone")

	w := f.follow()
	f.begin("paced", "log", "0.08")
	kept, paced := w.hear("paced"), f.rate("paced")
	f.begin("followed", "log", "0")
	got, followed := w.hear("followed"), f.rate("followed")
	if !kept.whole || !got.whole {
		t.Error("the follower was cut off")
	}

	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f.begin("stalled", "log", "0")
	stalled := f.rate("stalled")
	stood := time.Since(began)
	if err := w.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// Who takes nothing for 30 s is cut off, so that on a slow machine the end does not come.
	slow := w.hear("stalled")
	if stood < 25*time.Second && (!slow.whole || slow.gaps == 0) {
		t.Errorf("who did not read for %v was told of %d gaps, and followed to the end: %v", stood, slow.gaps, slow.whole)
	}
	f.begin("after", "pipe", "0")
	after := f.rate("after")
	peak := most()

	t.Logf("MB/s: to a program beside it %.0f and %.0f; to the log alone %.0f; in pauses %.0f, followed at %.0f with %d gaps; without %.0f, followed at %.0f with %d gaps; beside a follower who stands still %.0f, %d gaps; at most %.1f MiB on disk",
		before, after, alone, paced, kept.rate, kept.gaps, followed, got.rate, got.gaps, stalled, slow.gaps, float64(peak)/(1<<20))
	// A quiet machine does ten times that. Here other tests run beside this one: the bound is what shows that somebody
	// waits for somebody, measured by what the machine does without an agent.
	want := min(15, min(before, after)/8)
	for what, rate := range map[string]float64{
		"the follower got": got.rate, "the container alone printed": alone, "the container followed printed": followed,
		"the container printed beside a follower who stands still": stalled,
	} {
		if rate < want {
			t.Errorf("%s %.1f MB/s, want %.1f", what, rate, want)
		}
	}
	if peak > floodBudget*11/10 {
		t.Errorf("its files took %d bytes, more than 1.1 × %d", peak, floodBudget)
	}
}
