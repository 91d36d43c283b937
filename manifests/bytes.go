package manifests

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

const utf8BOM = "\xef\xbb\xbf"

// checkBytes refuses what cannot be the text of a manifest, with a message for the way such files come about.
func (d *decoder) checkBytes(data []byte) *Problem {
	p := &Problem{Origin: Origin{File: d.file}}
	switch {
	case len(data) > MaxFileSize:
		p.Message = fmt.Sprintf("the file has %d bytes, more than the %d that a manifest may have", len(data), MaxFileSize)
	case len(bytes.TrimSpace(bytes.TrimPrefix(data, []byte(utf8BOM)))) == 0:
		p.Message, p.Hint = "the file is empty", "remove the file to remove its pods"
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		p.Message, p.Hint = "the file is UTF-16", "save it as UTF-8"
	case bytes.IndexByte(data, 0) >= 0:
		p.Origin.Line = 1 + bytes.Count(data[:bytes.IndexByte(data, 0)], []byte("\n"))
		p.Message, p.Hint = "the file contains a NUL byte", "it is no text, is UTF-16, or was damaged by a power cut; save it as UTF-8"
	case !utf8.Valid(data):
		p.Origin.Line = 1 + bytes.Count(data[:firstInvalid(data)], []byte("\n"))
		p.Message, p.Hint = "the file is not valid UTF-8", "save it as UTF-8"
	default:
		return nil
	}
	return p
}

// firstInvalid returns the offset of the first byte that is not part of a UTF-8 character.
func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// document is the text of one YAML or JSON document.
type document struct {
	number int // from 1, counting only documents that hold something
	line   int // of the file at which text begins, from 1
	text   []byte
}

// split cuts a file at its document markers ("---" and "..." at the start of a line, which YAML allows nowhere else), so
// that a syntax error in one document leaves the others alone. Documents without content are left out.
func split(data []byte) []document {
	var docs []document
	start, startLine, line := 0, 1, 0
	flush := func(end int) {
		if text := data[start:end]; !blank(text) {
			docs = append(docs, document{number: len(docs) + 1, line: startLine, text: text})
		}
	}
	for pos := 0; pos < len(data); {
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		line++
		text := data[pos:end]
		switch {
		case isMarker(text, "---"):
			flush(pos)
			start, startLine = pos+3, line
		case isMarker(text, "..."):
			flush(pos)
			start, startLine = end, line+1
		}
		pos = end
	}
	flush(len(data))
	return docs
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// blank says whether a document holds nothing but white space, comments and YAML directives.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}
