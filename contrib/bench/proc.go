package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// memory is what processes hold, in kB.
type memory struct{ anonymous, pss int }

// memoryOf adds up processes. Those that end meanwhile count nothing.
func memoryOf(pids ...int) (m memory) {
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(b)) {
			var kb int
			if _, err := fmt.Sscanf(line, "Pss: %d kB", &kb); err == nil {
				m.pss += kb
			} else if _, err := fmt.Sscanf(line, "Anonymous: %d kB", &kb); err == nil {
				m.anonymous += kb
			}
		}
	}
	return m
}

// activity is what processes did since they started.
type activity struct {
	cpu     time.Duration
	written int64
}

// activityOf adds up processes; a tick of /proc is 10 ms.
func activityOf(pids ...int) (a activity) {
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, after, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(after); len(f) > 13 {
			for _, i := range []int{11, 12} { // utime, stime
				var ticks int64
				_, _ = fmt.Sscan(f[i], &ticks)
				a.cpu += time.Duration(ticks) * 10 * time.Millisecond
			}
		}
		b, _ = os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		for line := range strings.Lines(string(b)) {
			var n int64
			if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
				a.written += n
			}
		}
	}
	return a
}

// over is the CPU used between two readings in percent of one core.
func (a activity) over(before activity, d time.Duration) string {
	return fmt.Sprintf("%.2f %%", 100*float64(a.cpu-before.cpu)/float64(d))
}

// pidsOf lists the processes with this name.
func pidsOf(comm string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == comm {
			var pid int
			if _, err := fmt.Sscan(filepath.Base(filepath.Dir(f)), &pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
