package logs

import (
	"bytes"
	"errors"
	"time"
)

// Streams of a container, as the CRI log format names them.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// maxLine is the longest payload of one CRI line; longer lines are split, as containerd splits them.
const maxLine = 16 << 10

// stampLayout is RFC3339Nano with all nine digits; in UTC it is always stampLen bytes, so that times compare as bytes.
const (
	stampLayout = "2006-01-02T15:04:05.000000000Z07:00"
	stampLen    = len("2006-01-02T15:04:05.000000000Z")
)

// maxHeader is the longest that comes before the payload: stamp, stream, tag and three blanks.
const maxHeader = stampLen + len(" stdout F ")

// header appends what comes before a payload; tag is 'F' for a line's end, 'P' for a part before it.
func header(b []byte, now time.Time, stream string, tag byte) []byte {
	b = now.UTC().AppendFormat(b, stampLayout)
	b = append(b, ' ')
	b = append(b, stream...)
	return append(b, ' ', tag, ' ')
}

// parsed is one CRI line taken apart; the slices point into the line.
type parsed struct {
	stamp   []byte
	stream  []byte
	partial bool
	payload []byte
}

// errMalformed says that a line is not in CRI format.
var errMalformed = errors.New("not a CRI log line")

// parse takes apart a line without its newline. Tags after the first, separated by colons, are ignored, as the CRI asks.
func parse(line []byte) (parsed, error) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(stamp) < len("2006-01-02T15:04:05Z") {
		return parsed{}, errMalformed
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok || (string(stream) != Stdout && string(stream) != Stderr) {
		return parsed{}, errMalformed
	}
	tags, payload, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		tags, payload = rest, nil
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	if len(tag) != 1 || (tag[0] != 'P' && tag[0] != 'F') {
		return parsed{}, errMalformed
	}
	return parsed{stamp: stamp, stream: stream, partial: tag[0] == 'P', payload: payload}, nil
}
