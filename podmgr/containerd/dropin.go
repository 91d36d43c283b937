package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
)

// imported is <root>/imported.json: which archives of the drop-in directory were imported, by content. It saves work and
// may be lost.
type imported struct {
	// Files maps what stat says of a file to its digest, so that a large archive is not read at every start.
	Files map[string]string `json:"files"`
	// Digests are the archives that were imported.
	Digests map[string]bool `json:"digests"`
}

// ImportOnce imports an archive of the drop-in directory unless the same content was imported before.
func (x *Images) ImportOnce(ctx context.Context, path string, log zerolog.Logger) {
	log = log.With().Str("file", path).Logger()
	done, err := x.importOnce(ctx, path)
	switch {
	case err != nil && ctx.Err() == nil:
		log.Error().Err(err).Msg("importing images")
	case done != nil:
		log.Info().Strs("images", done).Msg("imported images")
	}
}

func (x *Images) importOnce(ctx context.Context, path string) (names []string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("looking at the archive: %w", err)
	}
	store := filepath.Join(x.r.cfg.Root, "imported.json")
	known := readImported(store)
	stamp := fmt.Sprintf("%s %d %d", path, st.Size(), st.ModTime().UnixNano())
	if known.Digests[known.Files[stamp]] {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	digest := hex.EncodeToString(h.Sum(nil))
	if !known.Digests[digest] {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		images, err := x.Import(ctx, f, nil)
		if err != nil {
			return nil, err
		}
		for _, i := range images {
			names = append(names, i.Names...)
		}
	}
	known.Files[stamp], known.Digests[digest] = digest, true
	b, err := json.Marshal(known)
	if err != nil {
		return names, fmt.Errorf("encoding the list of imported archives: %w", err)
	}
	return names, writeFile(store, b, 0o600)
}

func readImported(path string) imported {
	var i imported
	if b, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(b, &i) // damaged: import again
	}
	if i.Files == nil {
		i.Files = map[string]string{}
	}
	if i.Digests == nil {
		i.Digests = map[string]bool{}
	}
	return i
}
