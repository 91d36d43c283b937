package containerd

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"

	"edgepod.dev/agent/podmgr/logs"
	"golang.org/x/sys/unix"
)

// Limits of termination messages, as the kubelet holds them, in bytes and lines.
const (
	maxMessage      = 4096
	maxMessageLog   = 2048
	maxMessageLines = int64(80)
)

// message is the termination message of an ended container: what it wrote to its file, else, when it failed and its policy
// says so, the end of its log.
func (r *Runtime) message(ctx context.Context, id string, rec record, code int32) string {
	m := readMessage(rec.MessageFile)
	if m != "" || !rec.FallbackToLogs || code == 0 {
		return m
	}
	r.logs.drained(ctx, id) // a status that says how it ended says why, too
	var end lastBytes
	lines := maxMessageLines
	if err := r.logs.hub.Read(ctx, &end, rec.LogPath, logs.ReadOptions{Tail: &lines}, nil); err != nil {
		r.log.Debug().Err(err).Str("file", rec.LogPath).Msg("reading a container's log for its termination message")
	}
	return strings.ToValidUTF8(end.buf.String(), "�")
}

// readMessage reads the end of a termination message. The file is the container's to write, so nothing about it is
// trusted.
func readMessage(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return ""
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(st.Size()-maxMessage, 0), maxMessage))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(b), "�")
}

// lastBytes keeps the last maxMessageLog bytes that are written to it.
type lastBytes struct{ buf bytes.Buffer }

func (l *lastBytes) Write(b []byte) (int, error) {
	l.buf.Write(b[max(len(b)-maxMessageLog, 0):])
	l.buf.Next(max(l.buf.Len()-maxMessageLog, 0))
	return len(b), nil
}
