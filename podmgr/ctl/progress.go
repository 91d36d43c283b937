package ctl

import (
	"fmt"
	"io"
	"os"
	"strings"

	"edgepod.dev/agent/podmgr"
	"golang.org/x/sys/unix"
)

// progress shows how far a transfer is: on a terminal one line that is written over, elsewhere a line for each new status.
// It uses no colours.
type progress struct {
	w        io.Writer
	terminal bool
	latest   map[string]podmgr.Progress
	dirty    bool // the line on the terminal is to be cleared
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: isTerminal(w), latest: map[string]podmgr.Progress{}}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (p *progress) show(now podmgr.Progress) {
	before, known := p.latest[now.Ref]
	p.latest[now.Ref] = now
	if !p.terminal {
		if !known || before.Status != now.Status {
			fmt.Fprintf(p.w, "%s: %s\n", now.Ref, now.Status)
		}
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(now))
	p.dirty = true
}

// barWidth is the length of the bar in characters.
const barWidth = 24

// line sums up everything that has the status of the latest report.
func (p *progress) line(now podmgr.Progress) string {
	var done, total int64
	for _, l := range p.latest {
		if l.Total > 0 {
			done, total = done+min(l.Done, l.Total), total+l.Total
		}
	}
	if total == 0 {
		return fmt.Sprintf("%.40s: %s", now.Ref, now.Status)
	}
	full := int(done * barWidth / total)
	return fmt.Sprintf("%-12.12s [%s%s] %s / %s", now.Status, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), size(done), size(total))
}

func (p *progress) clear() {
	if p.dirty {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.dirty = false
	}
}
