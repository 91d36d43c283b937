package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// tail counts logical lines from the last to the first, over several files, until there are want of them.
//
// A line's end (F) counts; a part (P) belongs to the end that was counted before it, or, when the stream ends in the
// middle of a line, is itself that line. A very long line of one stream that is interleaved with lines of the other may
// lose its head at the cut.
type tail struct {
	want   int64
	have   int64
	wanted func(parsed) bool
	inside [2]bool // a line of stdout, stderr was counted whose head may still come
}

// add counts one CRI line and says whether it is before the tail.
func (t *tail) add(line []byte) bool {
	p, err := parse(line)
	if err != nil || !t.wanted(p) {
		return false
	}
	inside := &t.inside[streamIndex(p.stream)]
	if p.partial && *inside {
		return false
	}
	*inside = true
	t.have++
	return t.have > t.want
}

// plain looks for the beginning of the tail in a plain file, reading it backwards block by block, and returns its offset;
// false when the tail begins in an older file.
func (t *tail) plain(f *os.File, buf []byte) (int64, bool, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	torn := true // what follows the last newline is being written and not a line yet
	kept := 0    // bytes at the start of buf: the end of a line that begins in an earlier block
	for end := st.Size(); end > 0; {
		n := int(min(int64(len(buf)/2), end))
		if kept+n > len(buf) {
			kept = 0 // no line of ours is that long
		}
		copy(buf[n:], buf[:kept])
		if _, err := f.ReadAt(buf[:n], end-int64(n)); err != nil {
			return 0, false, err
		}
		end -= int64(n)
		data := buf[:n+kept]
		if torn {
			data = data[:bytes.LastIndexByte(data, '\n')+1]
			torn = len(data) == 0
		}
		for len(data) > 0 {
			start := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
			if start == 0 && end > 0 {
				break
			}
			if t.add(bytes.TrimSuffix(data[start:], []byte{'\n'})) {
				return end + int64(len(data)), true, nil
			}
			data = data[:start]
		}
		kept = len(data)
	}
	return 0, false, nil
}

// compressed does the same for a compressed file, which cannot be read backwards: it counts the lines first. It returns
// how many line ends to pass over.
func (t *tail) compressed(s *scanner) (skip int64, found bool, err error) {
	var ends int64
	for {
		line, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, false, err
		}
		if p, err := parse(line); err == nil && t.wanted(p) && !p.partial {
			ends++
		}
	}
	missing := t.want - t.have
	t.have += min(ends, missing)
	t.inside = [2]bool{true, true}
	return max(ends-missing, 0), ends > missing, nil
}

// streamIndex is 0 for stdout and 1 for stderr.
func streamIndex(stream []byte) int {
	if string(stream) == Stdout {
		return 0
	}
	return 1
}
