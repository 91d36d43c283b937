package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// compress replaces a rotated file by its compressed form in the background. It does nothing while another file of this
// node is being compressed: then the plain file is deleted in its turn, and a flood cannot make compression lag behind.
// The caller holds mu; Close joins.
func (w *Writer) compress(stamp string) {
	select {
	case w.hub.compressing <- struct{}{}:
	default:
		return
	}
	w.background.Go(func() {
		defer func() { <-w.hub.compressing }()
		name := w.path + "." + stamp
		tmp := name + gzSuffix + tmpSuffix
		// The bound on all files is exceeded by a tenth at most, while both forms of one file exist.
		if err := gzipFile(w.ending, name, tmp, w.maxSize*int64(w.maxFiles)/10); err != nil {
			_ = os.Remove(tmp) // the plain file stays; that is no loss
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, err := os.Lstat(name); err != nil { // pruned meanwhile
			_ = os.Remove(tmp)
			return
		}
		if err := os.Rename(tmp, name+gzSuffix); err != nil {
			_ = os.Remove(tmp)
			return
		}
		_ = os.Remove(name)
	})
}

// errNotWorth says that a file does not get small enough.
var errNotWorth = errors.New("compressing does not pay")

// gzipFile writes the compressed content of src to dst, at most limit bytes of it, and keeps the modification time.
func gzipFile(ending <-chan struct{}, src, dst string, limit int64) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, st.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	z, err := gzip.NewWriterLevel(&capped{w: out, left: min(limit, st.Size())}, gzip.BestSpeed)
	if err != nil {
		return err
	}
	z.ModTime = st.ModTime()
	if _, err := io.Copy(z, &cancelled{ending: ending, r: in}); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	// The plain file is removed next; a power cut must not leave an empty one in its place.
	if err := out.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", dst, err)
	}
	return os.Chtimes(dst, st.ModTime(), st.ModTime())
}

// capped fails when more than left bytes are written.
type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, errNotWorth
	}
	return c.w.Write(p)
}

// cancelled fails once ending is closed.
type cancelled struct {
	ending <-chan struct{}
	r      io.Reader
}

// errEnding says that the Writer is being closed.
var errEnding = errors.New("the log is being closed")

func (c *cancelled) Read(p []byte) (int, error) {
	select {
	case <-c.ending:
		return 0, errEnding
	default:
		return c.r.Read(p)
	}
}
