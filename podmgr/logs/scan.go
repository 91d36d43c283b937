package logs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
)

// scanner reads a log file line by line. An incomplete line at the end is left for the next call: it is being written.
type scanner struct {
	file       *os.File
	src        io.Reader // file, or what is compressed in it
	gz         bool
	buf        []byte
	start, end int // what of buf is unread
	skipping   bool
}

func newScanner(f *os.File, gz bool, buf []byte) (*scanner, error) {
	s := &scanner{file: f, src: f, gz: gz, buf: buf}
	if gz {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		s.src = z
	}
	return s, nil
}

// next returns one line without its newline, valid until the next call; io.EOF when there is no complete one. Lines too
// long to be ours are passed over.
func (s *scanner) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(s.buf[s.start:s.end], '\n'); i >= 0 {
			line := s.buf[s.start : s.start+i]
			s.start += i + 1
			if s.skipping {
				s.skipping = false
				continue
			}
			return line, nil
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

func (s *scanner) fill() error {
	if s.start > 0 {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start = 0
	}
	if s.end == len(s.buf) {
		s.end, s.skipping = 0, true
	}
	n, err := s.src.Read(s.buf[s.end:])
	s.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) && !s.gz && s.end > 0 && !s.skipping {
		// The writer takes a torn line back when the disk is full, so do not keep what was read of it.
		if _, serr := s.file.Seek(int64(-s.end), io.SeekCurrent); serr != nil {
			return serr
		}
		s.end = 0
	}
	return err
}
