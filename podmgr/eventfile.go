package podmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/rs/zerolog"
)

// Bounds of the events on disk, so that a flash disk lives: the newest ones, written at most so often and only when there
// are new ones.
const (
	maxEventsKept  = 300
	keepEventsPace = 15 * time.Second
)

// eventFile keeps the newest events of a board where a restart of the agent and of the machine finds them. A file that is
// damaged or cannot be written costs events only.
type eventFile struct {
	path  string
	ring  *eventRing
	log   zerolog.Logger
	clean uint64 // version of the ring that the file holds; owner: the goroutine in keep
}

// load puts the events of the file into the ring, before anybody adds to it.
func (f *eventFile) load() {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var events []*Event
	if err == nil {
		err = json.Unmarshal(b, &events)
	}
	if err != nil {
		f.log.Warn().Err(err).Str("file", f.path).Msg("earlier events cannot be read and are forgotten")
		return
	}
	f.ring.mu.Lock()
	defer f.ring.mu.Unlock()
	for _, e := range events[max(0, len(events)-maxEventsKept):] {
		if e != nil {
			f.ring.events = append(f.ring.events, e)
		}
	}
}

// keep writes the file when there is something new, until ctx ends, and once more then.
func (f *eventFile) keep(ctx context.Context, changed func() <-chan struct{}) {
	failed := false
	write := func() (wrote bool) {
		before := f.clean
		err := f.write()
		if err != nil && !failed {
			f.log.Warn().Err(err).Msg("events are kept in memory only")
		}
		failed = err != nil
		return failed || f.clean != before
	}
	defer write()
	for {
		next := changed()
		if write() {
			sleep(ctx, keepEventsPace)
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		}
	}
}

func (f *eventFile) write() error {
	events, version := f.ring.newest(maxEventsKept)
	if version == f.clean {
		return nil
	}
	b, err := json.Marshal(events)
	if err != nil {
		return fmt.Errorf("encoding events: %w", err)
	}
	if err := replaceFile(f.path, b); err != nil {
		return fmt.Errorf("keeping events: %w", err)
	}
	f.clean = version
	return nil
}

// replaceFile writes a file that nobody ever sees half-written, even when the power fails.
func replaceFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
