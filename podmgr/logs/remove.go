package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Remove deletes the log at path, which must lie under the hub's root, with its rotated files; nobody writes it any more.
// Whoever reads it goes on to its end. Removing what is gone is no error.
func (h *Hub) Remove(path string) error {
	dir, err := openDir(h.root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("listing logs: %w", err)
	}
	var errs []error
	base := filepath.Base(path)
	for _, name := range names {
		if name != base && rotatedStamp(base, strings.TrimSuffix(name, tmpSuffix)) == "" {
			continue
		}
		if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, &os.PathError{Op: "remove", Path: filepath.Join(dir.Name(), name), Err: err})
		}
	}
	return errors.Join(errs...)
}
