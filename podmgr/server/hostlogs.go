package server

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hostLogs serves the files under HostLogs, as the kubelet's /logs/ does. A pod that can write there must not make the
// agent read elsewhere: no symlink is followed, in no part of the path, and a file with a second name is not served
// (KHV047, CVE-2026-53489).
func (s *Server) hostLogs(w http.ResponseWriter, r *http.Request) {
	if s.HostLogs == "" {
		writeError(w, notHere("the log directory"))
		return
	}
	rel := filepath.Clean("/" + r.PathValue("path"))[1:]
	f, err := openBelow(s.HostLogs, rel)
	if err != nil {
		s.Log.Debug().Err(err).Str("path", rel).Msg("serving a log file")
		writeError(w, notFound(fmt.Sprintf("there is no log file %q", rel)))
		return
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		writeError(w, fmt.Errorf("reading %s: %w", rel, err))
		return
	}
	if st.IsDir() {
		listDir(w, r, f)
		return
	}
	// Never what a browser would run.
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", st.ModTime(), f)
}

func listDir(w http.ResponseWriter, r *http.Request, dir *os.File) {
	if !strings.HasSuffix(r.URL.Path, "/") {
		// Relative, so that it cannot lead to another host.
		w.Header().Set("Location", url.PathEscape(filepath.Base(r.URL.Path))+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		writeError(w, fmt.Errorf("listing %s: %w", dir.Name(), err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprintln(w, "<pre>")
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		link := url.URL{Path: "./" + name}
		_, _ = fmt.Fprintf(w, "<a href=%q>%s</a>\n", link.String(), html.EscapeString(name))
	}
	_, _ = fmt.Fprintln(w, "</pre>")
}

// openBelow opens a directory or a regular file with one name, rel under root, without following a symlink below root.
func openBelow(root, rel string) (*os.File, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", root, err)
	}
	for name := range strings.SplitSeq(rel, "/") {
		if name == "" {
			continue
		}
		// Not blocking, because what is opened may be a FIFO.
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", filepath.Join(root, rel), err)
		}
		fd = next
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("opening %s: %w", filepath.Join(root, rel), err)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR, kind == unix.S_IFREG && st.Nlink == 1:
		return os.NewFile(uintptr(fd), filepath.Join(root, rel)), nil
	}
	_ = unix.Close(fd)
	return nil, errors.New("it is neither a directory nor a regular file with one name")
}
