package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
)

// Config says which directory to read and how.
type Config struct {
	// Dir is the directory with the manifests. It is not read recursively.
	Dir string
	// Create makes Dir at the start when it does not exist.
	Create bool
	// StoreDir keeps the last good version of each pod, ConfigMap and Secret; it must be this source's own. Empty keeps nothing.
	StoreDir string
	// MassRemovalGrace is how long the removal of more than half of at least four pods at once waits; 0 stands for 30 s,
	// a negative value for no wait.
	MassRemovalGrace time.Duration
	// Poll is the time between looks where file events do not work (default 2 s), Rescan where they do (default 10 s).
	Poll, Rescan time.Duration
	// MaxFileSize is the largest manifest in bytes; 0 stands for manifests.MaxFileSize.
	MaxFileSize int64
	Codec
	Log zerolog.Logger
}

// Codec is what manifests does for a source.
type Codec struct {
	// Decode turns a file into its documents; see manifests.DecodeAll.
	Decode func(file string, data []byte) manifests.Documents
	// Encode and DecodeStored write and read one pod for the store; they are inverse to each other.
	Encode       func(*manifests.Pod) ([]byte, error)
	DecodeStored func([]byte) (*manifests.Pod, error)
	// EncodeConfig and DecodeStoredConfig do the same for a ConfigMap or Secret.
	EncodeConfig       func(*manifests.Config) ([]byte, error)
	DecodeStoredConfig func([]byte) (*manifests.Config, error)
}

// NewCodec is the Codec of a node.
func NewCodec(of manifests.Options) Codec {
	return Codec{
		Decode: func(file string, data []byte) manifests.Documents { return manifests.DecodeAll(file, data, of) },
		Encode: manifests.Encode, DecodeStored: manifests.DecodeStored,
		EncodeConfig: manifests.EncodeConfig, DecodeStoredConfig: manifests.DecodeStoredConfig,
	}
}

// commitDelay gathers the changes of a moment into one wait for the disk.
const commitDelay = 100 * time.Millisecond

// Source is one manifest directory.
type Source struct {
	cfg   Config
	rules rules
	loop  loop

	// What follows belongs to the goroutine of Run.
	store    *store
	state    state
	sent     *manifests.Snapshot
	storeErr string
	retry    time.Time // when a failed write to the store is tried again
	commitAt time.Time // when what was written to the store is made durable; zero when it is
}

// New prepares a source; nothing is read before Run.
func New(cfg Config) (*Source, error) {
	abs, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolving manifest directory %q: %w", cfg.Dir, err)
	}
	cfg.Dir = abs
	cfg.MassRemovalGrace = orDefault(cfg.MassRemovalGrace, 30*time.Second)
	cfg.Poll = orDefault(cfg.Poll, 2*time.Second)
	cfg.Rescan = orDefault(cfg.Rescan, 10*time.Second)
	cfg.MaxFileSize = orDefault(cfg.MaxFileSize, manifests.MaxFileSize)
	s := &Source{cfg: cfg, rules: rules{source: "dir:" + abs, dir: abs, grace: cfg.MassRemovalGrace}}
	s.loop = loop{
		scanner: newScanner(abs, isManifest), poll: cfg.Poll, rescan: cfg.Rescan,
		log: cfg.Log, open: newWatches,
	}
	s.loop.scanner.max, s.loop.scanner.decode = cfg.MaxFileSize, s.decode
	if cfg.StoreDir != "" {
		s.store = &store{dir: cfg.StoreDir, codec: cfg.Codec, log: cfg.Log}
	}
	return s, nil
}

// Name is "dir:" and the absolute path.
func (s *Source) Name() string { return s.rules.source }

// Run sends the whole set whenever it differs from the one sent before, until ctx ends. It is called once.
func (s *Source) Run(ctx context.Context, out chan<- manifests.Snapshot) error {
	if s.store != nil {
		s.state = s.store.load()
	}
	// A directory that is missing although pods were wanted from it is not made: it is a disk that is not mounted, and an
	// empty one in its place would say that nothing is wanted.
	if s.cfg.Create && len(s.state.claims) == 0 {
		if err := os.MkdirAll(s.cfg.Dir, 0o755); err != nil {
			s.cfg.Log.Warn().Err(err).Msg("the manifest directory cannot be created")
		}
	}
	err := s.loop.run(ctx, func(l listing, now time.Time) time.Time {
		return s.step(ctx, l, now, out)
	})
	if s.store != nil && s.store.pending(s.state.claims) {
		s.noteStore(s.store.commit(s.state.claims), time.Now())
	}
	return err
}

// step merges one listing, stores what is wanted and says so. A version is written to the store before it is said, so that
// an agent killed right after knows it. It is made durable (fsync) a moment later, while its pod starts already; what a
// power cut could take away before is a version that was replaced by a broken one within that moment.
func (s *Source) step(ctx context.Context, l listing, now time.Time, out chan<- manifests.Snapshot) time.Time {
	was := s.state.unknown
	next, snap, wake := merge(s.state, l, now, s.rules)
	s.state = next
	s.logUnknown(was)
	if snap == nil {
		return wake
	}
	try := s.store != nil && (s.storeErr == "" || !now.Before(s.retry))
	if try {
		s.noteStore(s.store.stage(s.state.claims, s.state.place.mount), now)
	}
	if s.sent != nil {
		keepPointers(snap.Pods, s.sent.Pods)
	}
	if s.storeErr != "" {
		snap.Problems = append(snap.Problems, s.storeProblem())
		wake = earliest(wake, s.retry)
	}
	if s.sent == nil || !same(snap, s.sent) {
		select {
		case out <- *snap:
			s.logChange(s.sent, snap)
			s.sent = snap
		case <-ctx.Done():
		}
	}
	if try && s.storeErr == "" {
		wake = earliest(wake, s.commit(now))
	}
	return wake
}

// commit makes the store durable a little after it changed, and returns when to be called again; zero for never.
func (s *Source) commit(now time.Time) time.Time {
	switch {
	case !s.store.pending(s.state.claims):
		s.commitAt = time.Time{}
		return time.Time{}
	case s.commitAt.IsZero():
		s.commitAt = now.Add(commitDelay)
		return s.commitAt
	case now.Before(s.commitAt):
		return s.commitAt
	}
	s.commitAt = time.Time{}
	if s.noteStore(s.store.commit(s.state.claims), now); s.storeErr != "" {
		return now // to show the problem
	}
	return time.Time{}
}

// noteStore remembers whether the store works. One that does not is a problem, never a reason to stop; it is tried again
// slowly.
func (s *Source) noteStore(err error, now time.Time) {
	switch {
	case err == nil:
		s.storeErr = ""
	default:
		if s.storeErr != err.Error() {
			s.cfg.Log.Warn().Err(err).Msg("last good versions cannot be stored")
		}
		s.storeErr, s.retry = err.Error(), now.Add(s.cfg.Rescan)
	}
}

func (s *Source) storeProblem() manifests.Problem {
	return manifests.Problem{
		Origin:  manifests.Origin{File: s.cfg.StoreDir},
		Message: "the last good version of manifests cannot be stored: " + s.storeErr,
		Hint:    "free some space or mend the disk; until then a broken manifest stops its pod at the next reboot",
	}
}

// logUnknown writes a line when the directory became unknown or known.
func (s *Source) logUnknown(was string) {
	switch is := s.state.unknown; {
	case is == was:
	case is == "":
		s.cfg.Log.Info().Str("dir", s.cfg.Dir).Msg("the manifest directory can be read again")
	default:
		s.cfg.Log.Warn().Str("dir", s.cfg.Dir).Str("reason", is).Int("pods", countPods(s.state.claims)).
			Msg("the manifest directory cannot be read, its pods are kept")
	}
}

// logChange writes one line per snapshot with what is new about it.
func (s *Source) logChange(old, snap *manifests.Snapshot) {
	var before []manifests.Problem
	if old != nil {
		before = old.Problems
	}
	for i, p := range snap.Problems {
		if i == 20 {
			break // a directory of junk must not flood the log; the board has them all
		}
		if !slices.Contains(before, p) {
			s.cfg.Log.Warn().Str("at", p.Origin.String()).Str("field", p.Field).Bool("kept", p.Kept).Str("hint", p.Hint).
				Msg(p.Message)
		}
	}
	s.cfg.Log.Info().Int("pods", len(snap.Pods)).Int("problems", len(snap.Problems)).Msg("manifests changed")
}

// decode calls Config.Decode and turns a panic of a parser into a problem of that file: input of strangers must not end
// the agent.
func (s *Source) decode(path string, data []byte) (docs manifests.Documents) {
	defer func() {
		if r := recover(); r != nil {
			s.cfg.Log.Error().Str("file", path).Interface("panic", r).Msg("decoding a manifest panicked")
			docs = manifests.Documents{Problems: []manifests.Problem{{
				Origin:  manifests.Origin{File: path},
				Message: fmt.Sprintf("cannot be decoded: the decoder broke (%v)", r),
				Hint:    "this is a fault of the agent: please report it with the file",
			}}}
		}
	}()
	return s.cfg.Decode(path, data)
}

// same compares what two snapshots say; pods are immutable, so their pointers tell.
func same(a, b *manifests.Snapshot) bool {
	return slices.Equal(a.Pods, b.Pods) && slices.Equal(a.Problems, b.Problems) && slices.EqualFunc(a.Configs, b.Configs, (*manifests.Config).Equal)
}

// isManifest says whether a name is read: *.yaml, *.yml and *.json, but not hidden files nor what editors leave beside
// them (".x.yaml.swp" and "x.yaml~" by their ends, "#x.yaml#" and ".#x.yaml" by their beginnings).
func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
