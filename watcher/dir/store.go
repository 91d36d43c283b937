package dir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	entrySuffix   = ".json"
	partSuffix    = ".part"
	corruptSuffix = ".corrupt"
	storeVersion  = 1

	maxEntryName = 200 // bytes, of the 255 that a file system allows
)

// store keeps the last good version of each wanted document on disk, one file per id, and who owns the id. Only root may
// read it: it holds secrets in the clear, as the manifests do. Losing it costs
// nothing while the manifests are good. It belongs to the source's goroutine.
type store struct {
	dir   string
	codec Codec
	log   zerolog.Logger
	// claims are as last written, sums what the entries hold, staged what is written beside them.
	claims       map[id]claim
	sums, staged map[id]string
	mount        bool
}

// stored is the content of one file.
type stored struct {
	Version  int      `json:"version"`
	File     string   `json:"file"`
	Path     string   `json:"path"`
	Document int      `json:"document,omitempty"`
	Line     int      `json:"line,omitempty"`
	Beside   []string `json:"beside,omitempty"`
	// Mounted says that the manifest directory was the root of a mount.
	Mounted bool   `json:"mounted,omitempty"`
	SHA256  string `json:"sha256"` // of Pod or Config
	Pod     []byte `json:"pod,omitempty"`
	Config  []byte `json:"config,omitempty"` // a ConfigMap or Secret
}

// load reads what an earlier agent stored. What cannot be read is set aside with a warning, never an error: the manifests
// are the truth, this is a copy.
func (s *store) load() state {
	st := state{claims: map[id]claim{}}
	s.claims, s.sums, s.staged = map[id]claim{}, map[id]string{}, map[id]string{}
	names, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn().Err(err).Str("store", s.dir).Msg("last good versions cannot be read, starting without them")
	}
	for _, de := range names { // sorted: x.json comes before x.json.part, which is newer
		path := filepath.Join(s.dir, de.Name())
		part := strings.HasSuffix(de.Name(), entrySuffix+partSuffix)
		if !part && !strings.HasSuffix(de.Name(), entrySuffix) || !de.Type().IsRegular() {
			continue
		}
		c, raw, err := s.read(path)
		switch {
		case err != nil && part: // cut off while it was written
			_ = os.Remove(path)
			continue
		case err != nil:
			s.log.Warn().Err(err).Str("file", path).Msg("a stored document is damaged and set aside")
			_ = os.Rename(path, path+corruptSuffix)
			continue
		}
		k := c.id()
		st.claims[k] = c
		st.place.mount = st.place.mount || raw.mounted
		if part { // written, but not yet made durable: stage and commit do it again
			s.claims[k] = claim{}
			delete(s.sums, k)
			continue
		}
		s.claims[k], s.sums[k] = c, sum(raw.bytes)
	}
	s.mount = st.place.mount
	return st
}

type rawEntry struct {
	bytes   []byte
	mounted bool
}

func (s *store) read(path string) (claim, rawEntry, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return claim{}, rawEntry{}, err
	}
	var e stored
	if err := json.Unmarshal(b, &e); err != nil {
		return claim{}, rawEntry{}, fmt.Errorf("decoding: %w", err)
	}
	if e.Version != storeVersion {
		return claim{}, rawEntry{}, fmt.Errorf("version %d is not known", e.Version)
	}
	w, err := s.unmarshal(e)
	if err != nil {
		return claim{}, rawEntry{}, err
	}
	if want := s.path(w.id()); want != strings.TrimSuffix(path, partSuffix) {
		return claim{}, rawEntry{}, fmt.Errorf("it holds the %s, which belongs into %s", w.id(), want)
	}
	return claim{wanted: w, file: e.File, beside: e.Beside}, rawEntry{b, e.Mounted}, nil
}

// unmarshal reads the document of an entry, which says itself where it stood.
func (s *store) unmarshal(e stored) (w wanted, err error) {
	if sum(append(e.Pod, e.Config...)) != e.SHA256 {
		return w, errors.New("the checksum does not match")
	}
	if e.Config != nil {
		if w.config, err = s.codec.DecodeStoredConfig(e.Config); err != nil {
			return wanted{}, fmt.Errorf("decoding the object: %w", err)
		}
		return w, nil
	}
	if w.pod, err = s.codec.DecodeStored(e.Pod); err != nil {
		return wanted{}, fmt.Errorf("decoding the pod: %w", err)
	}
	return w, nil
}

// stage writes the claims that changed beside the entries, without waiting for the disk: enough for an agent that is
// killed, not for a power cut. commit makes them durable. Both write nothing when nothing changed.
func (s *store) stage(claims map[id]claim, mount bool) error {
	for _, k := range sortedKeys(claims) {
		if old, ok := s.claims[k]; ok && mount == s.mount && old.equal(claims[k]) {
			continue
		}
		b, err := s.marshal(claims[k], mount)
		if err != nil {
			return fmt.Errorf("encoding the %s: %w", k, err)
		}
		h := sum(b)
		if h == s.sums[k] && s.staged[k] == "" || h == s.staged[k] {
			s.claims[k] = claims[k]
			continue
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		// Manifests may hold secrets: only root reads the copies.
		if err := os.WriteFile(s.path(k)+partSuffix, b, 0o600); err != nil {
			return err
		}
		s.claims[k], s.staged[k] = claims[k], h
	}
	s.mount = mount
	return nil
}

// pending says whether commit has anything to do.
func (s *store) pending(claims map[id]claim) bool {
	if len(s.staged) > 0 {
		return true
	}
	for k := range s.claims {
		if _, ok := claims[k]; !ok {
			return true
		}
	}
	return false
}

// commit makes what was staged durable and forgets keys that are not claimed any more, so that a power cut leaves each
// entry in its old or its new version. Files are synced side by side: a journaling file system commits them together.
func (s *store) commit(claims map[id]claim) error {
	if !s.pending(claims) {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(16)
	for k := range s.staged {
		if _, ok := claims[k]; ok {
			path := s.path(k)
			g.Go(func() error { return settleFile(path+partSuffix, path) })
		}
	}
	if err := g.Wait(); err != nil {
		// Which of them are in place is not known: all are staged again.
		for k := range s.staged {
			s.claims[k] = claim{}
			delete(s.sums, k)
		}
		clear(s.staged)
		return err
	}
	for k := range s.claims {
		if _, ok := claims[k]; ok {
			continue
		}
		for _, path := range []string{s.path(k), s.path(k) + partSuffix} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		delete(s.claims, k)
		delete(s.sums, k)
		delete(s.staged, k)
	}
	maps.Copy(s.sums, s.staged)
	clear(s.staged)
	return syncDir(s.dir)
}

func (s *store) marshal(c claim, mount bool) ([]byte, error) {
	o := c.origin()
	e := stored{
		Version: storeVersion, File: c.file, Path: o.File, Document: o.Document, Line: o.Line, Beside: c.beside, Mounted: mount,
	}
	var err error
	if c.config != nil {
		e.Config, err = s.codec.EncodeConfig(c.config)
	} else {
		e.Pod, err = s.codec.Encode(c.pod)
	}
	if err != nil {
		return nil, err
	}
	e.SHA256 = sum(append(e.Pod, e.Config...))
	return json.Marshal(e)
}

// path is the file of an id; no part of a valid one holds an underscore.
func (s *store) path(k id) string {
	name := k.key.Namespace + "_" + k.key.Name
	if !k.isPod() {
		name = strings.ToLower(k.kind) + "_" + name
	}
	if len(name) > maxEntryName {
		name = sum([]byte(name))
	}
	return filepath.Join(s.dir, name+entrySuffix)
}

// equal says whether two claims are the same to the store.
func (c claim) equal(d claim) bool {
	return c.wanted == d.wanted && c.file == d.file && slices.Equal(c.beside, d.beside)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// settleFile syncs a file and renames it into place; the caller syncs the directory.
func settleFile(from, to string) error {
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd())))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
