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
	// eventsSettle is what events wait for those that come with them, hurriesKept how many warnings in a row are not made
	// to wait for the pace.
	eventsSettle = time.Second
	hurriesKept  = 10
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
	pace := eventPace{spare: hurriesKept}
	write := func() {
		err := f.write()
		if err != nil && !failed {
			f.log.Warn().Err(err).Msg("events are kept in memory only")
		}
		failed = err != nil
		pace.wrote(time.Now(), failed)
	}
	defer write()
	timer := time.NewTimer(keepEventsPace)
	defer timer.Stop()
	for {
		next := changed()
		timer.Stop()
		if version, warned := f.ring.news(f.clean); version != f.clean {
			wait := pace.due(time.Now(), warned)
			if wait <= 0 {
				write()
				continue
			}
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-timer.C:
		}
	}
}

// eventPace says when events are written: soon after a time without any, and soon when there is a new warning, which an
// agent that is killed must not take with it; else at the pace. Warnings that never end are written at twice the pace.
type eventPace struct {
	since time.Time // when the oldest event came that is not written; zero: there is none
	last  time.Time // the last write
	spare int       // how many writes may come before their time
}

// due is how long to wait until what is new is written.
func (p *eventPace) due(now time.Time, warned bool) time.Duration {
	if p.since.IsZero() {
		p.since = now
	}
	soon, later := p.since.Add(eventsSettle).Sub(now), p.last.Add(keepEventsPace).Sub(now)
	if warned && p.spare > 0 {
		return soon
	}
	return max(soon, later)
}

func (p *eventPace) wrote(now time.Time, failed bool) {
	if early := now.Sub(p.last) < keepEventsPace; early {
		p.spare--
	} else {
		p.spare = min(p.spare+int(now.Sub(p.last)/keepEventsPace), hurriesKept)
	}
	if failed {
		p.spare = 0 // nothing is gained by hurrying
	}
	p.since, p.last = time.Time{}, now
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
