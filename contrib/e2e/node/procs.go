package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one process as /proc shows it. Its PID and start time together are its identity.
type Process struct {
	PID   int
	Start uint64 // clock ticks since boot
	Comm  string
	Args  []string
	// Cgroup is the process's cgroup below the node's CgroupRoot, without it; empty for shims.
	Cgroup string
}

func (p Process) String() string { return fmt.Sprintf("%d %s %q", p.PID, p.Comm, p.Args) }

// processes reads all processes that keep accepts. Those that end meanwhile are left out.
func processes(keep func(*Process) bool) []Process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		i, j := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		fields := strings.Fields(string(stat[j+1:]))
		if i < 0 || j < 0 || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		p := Process{PID: pid, Comm: string(stat[i+1 : j])}
		p.Start, _ = strconv.ParseUint(fields[19], 10, 64)
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		p.Args = strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
		if keep(&p) {
			out = append(out, p)
		}
	}
	return out
}

// Processes are those in the cgroups of the node's pods, pauses included.
func (n *Node) Processes() []Process {
	return processes(func(p *Process) bool {
		b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "cgroup"))
		for line := range strings.Lines(string(b)) {
			f := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(f) == 3 && (f[2] == n.CgroupRoot || strings.HasPrefix(f[2], n.CgroupRoot+"/")) {
				p.Cgroup = strings.TrimPrefix(f[2], n.CgroupRoot)
				return true
			}
		}
		return false
	})
}

// Apps are the processes of containers, without the pauses.
func (n *Node) Apps() []Process {
	return slices.DeleteFunc(n.Processes(), func(p Process) bool { return p.Comm == "pause" })
}

// Settle waits until runc has nothing under way in the node's cgroups (a pause may come up after its pod's app) and no
// process has changed for a moment (a shell that forks is two shells before it is a shell and a sleep).
func (n *Node) Settle() {
	n.t.Helper()
	last, since := "", time.Now()
	n.Eventually("the processes to settle", func() string {
		now := fmt.Sprint(n.Processes())
		if now != last || strings.Contains(now, "runc") {
			last, since = now, time.Now()
		}
		if time.Since(since) < 300*time.Millisecond {
			return now
		}
		return ""
	})
}

// Of leaves the processes of one pod, by its UID in their cgroup.
func Of(all []Process, uid string) []Process {
	return slices.DeleteFunc(slices.Clone(all), func(p Process) bool {
		return !strings.Contains(p.Cgroup, uid) && !strings.Contains(p.Cgroup, strings.ReplaceAll(uid, "-", "_"))
	})
}

// Shims are the containerd shims of the node.
func (n *Node) Shims() []Process {
	return processes(func(p *Process) bool {
		i := slices.Index(p.Args, "-address")
		return i >= 0 && i+1 < len(p.Args) && p.Args[i+1] == n.ContainerdSocket() && strings.Contains(p.Args[0], "containerd-shim")
	})
}

// Identity is a process's identity for a comparison: "pid@start comm".
func Identity(procs []Process) []string {
	var out []string
	for _, p := range procs {
		out = append(out, fmt.Sprintf("%d@%d %s", p.PID, p.Start, p.Comm))
	}
	slices.Sort(out)
	return out
}

// alive says whether a process exists and is not a zombie.
func alive(pid int) bool {
	return len(processes(func(p *Process) bool { return p.PID == pid })) > 0
}

// KillProcesses sends SIGKILL to processes and returns when none of them is left.
func (n *Node) KillProcesses(procs []Process) {
	n.t.Helper()
	for _, p := range procs {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
	n.Eventually("killed processes to end", func() string {
		left := processes(func(q *Process) bool {
			return slices.ContainsFunc(procs, func(p Process) bool { return p.PID == q.PID && p.Start == q.Start })
		})
		if len(left) == 0 {
			return ""
		}
		return fmt.Sprint(left)
	})
}
