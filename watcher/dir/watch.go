package dir

import (
	"context"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// File is one regular file, or symbolic link to one, in a watched directory.
type File struct {
	Path    string
	Version Version
}

// Watch calls changed for every file of the directory whose name matches and that nobody is writing: once each at the
// start, and again whenever one appears or its Version changes. It serves drop-in directories whose files are too large
// to be read here. changed runs on Watch's goroutine; what happens while it blocks is looked at afterwards, so it may
// take its time. A directory that is missing or cannot be read is waited for. Watch returns when ctx ends.
func Watch(ctx context.Context, dir string, match func(name string) bool, log zerolog.Logger, changed func(context.Context, File)) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	l := loop{scanner: newScanner(abs, match), poll: 2 * time.Second, rescan: 10 * time.Second, log: log, open: newWatches}
	told, faults := map[string]Version{}, map[string]string{}
	return l.run(ctx, func(lst listing, now time.Time) time.Time {
		if lst.unknown != nil {
			return now.Add(unknownRetry)
		}
		here := make(map[string]bool, len(lst.files))
		for _, f := range lst.files {
			here[f.name] = true
			if f.fault != nil {
				if faults[f.name] != f.fault.message {
					faults[f.name] = f.fault.message
					log.Warn().Str("file", filepath.Join(abs, f.name)).Str("hint", f.fault.hint).Msg(f.fault.message)
				}
				continue
			}
			delete(faults, f.name)
			if f.version == (Version{}) || !f.held.IsZero() || told[f.name] == f.version || ctx.Err() != nil {
				continue
			}
			told[f.name] = f.version
			changed(ctx, File{Path: filepath.Join(abs, f.name), Version: f.version})
		}
		maps.DeleteFunc(told, func(name string, _ Version) bool { return !here[name] })
		maps.DeleteFunc(faults, func(name, _ string) bool { return !here[name] })
		return time.Time{}
	})
}

// IsImageArchive says whether a name is that of an image archive: *.tar, *.tar.gz, *.tgz, *.tar.zst, *.oci, not hidden.
func IsImageArchive(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".oci"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
