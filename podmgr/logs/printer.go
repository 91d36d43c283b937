package logs

import (
	"errors"
	"io"
	"time"
)

// printer turns CRI lines back into what the container printed.
type printer struct {
	w    io.Writer
	o    ReadOptions
	out  []byte
	left int64 // bytes that may still be written; negative: no limit
	// flushAt is how much is collected before it is handed on.
	flushAt int
	said    bool // something was printed
	gap     bool // what comes next does not follow what was printed

	since string     // as a stamp; empty: everything
	lines [2]pending // stdout and stderr, each with a line whose end has not come
}

// pending is a line of which only parts were read.
type pending struct {
	open bool
	drop bool // it began too early
	data []byte
}

const (
	// smallFlush is the least flushAt.
	smallFlush = 8 << 10
	// longest is how much of one line is collected so that lines of the other stream do not cut it.
	longest = 1 << 20
)

func newPrinter(w io.Writer, o ReadOptions) *printer {
	p := &printer{w: w, o: o, left: -1, flushAt: smallFlush}
	if o.LimitBytes != nil {
		p.left = *o.LimitBytes
	}
	if !o.Since.IsZero() {
		p.since = o.Since.UTC().Format(stampLayout)
	}
	return p
}

// wanted says whether a CRI line is of a stream that was asked for.
func (o ReadOptions) wanted(l parsed) bool {
	if o.Stdout == o.Stderr {
		return true
	}
	return (streamIndex(l.stream) == 0) == o.Stdout
}

// before says whether a line is older than asked for.
func (p *printer) before(stamp []byte) bool {
	if p.since == "" {
		return false
	}
	if len(stamp) == stampLen && stamp[stampLen-1] == 'Z' {
		return string(stamp) < p.since
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	return err == nil && t.Before(p.o.Since)
}

// errLimit ends reading when LimitBytes are written.
var errLimit = errors.New("limit reached")

// line prints one CRI line. What is not in CRI format is not a container's output and is left out.
func (p *printer) line(b []byte) error {
	l, err := parse(b)
	if err != nil || !p.o.wanted(l) {
		return nil
	}
	if p.gap {
		p.sayGap(l.stamp)
	}
	held := &p.lines[streamIndex(l.stream)]
	first := !held.open
	if first {
		held.drop = p.before(l.stamp)
	}
	held.open = l.partial
	if held.drop {
		return nil
	}
	p.said = true
	to := &p.out
	if l.partial || len(held.data) > 0 {
		to = &held.data
	}
	if first && p.o.Timestamps {
		*to = append(*to, l.stamp...)
		*to = append(*to, ' ')
	}
	*to = append(*to, l.payload...)
	if !l.partial {
		*to = append(*to, '\n')
	}
	if to == &held.data && (!l.partial || len(held.data) > longest) {
		p.out = append(p.out, held.data...)
		held.data = nil
	}
	if len(p.out) >= p.flushAt {
		return p.flush()
	}
	return nil
}

// missing stands in the output for what the container printed and this reader did not see.
const missing = "[agent] output is missing here: the log was rotated away, or damaged, before it was read"

// sayGap ends the lines that were begun before the gap and says that there is one.
func (p *printer) sayGap(stamp []byte) {
	p.gap = false
	for i := range p.lines {
		if held := p.lines[i].data; len(held) > 0 {
			p.out = append(append(p.out, held...), '\n')
		}
		p.lines[i] = pending{}
	}
	if p.before(stamp) {
		return
	}
	if p.o.Timestamps {
		p.out = append(append(p.out, stamp...), ' ')
	}
	p.out = append(append(p.out, missing...), '\n')
}

// flush hands on what was collected.
func (p *printer) flush() error {
	out := p.out
	if p.left >= 0 && int64(len(out)) > p.left {
		out = out[:p.left]
	}
	p.out = p.out[:0]
	if len(out) > 0 {
		if _, err := p.w.Write(out); err != nil {
			return err
		}
	}
	if p.left >= 0 {
		if p.left -= int64(len(out)); p.left == 0 {
			return errLimit
		}
	}
	return nil
}

// finish prints the lines whose ends did not come, and hands everything on.
func (p *printer) finish() error {
	for i := range p.lines {
		p.out = append(p.out, p.lines[i].data...)
		p.lines[i] = pending{}
	}
	return p.flush()
}
