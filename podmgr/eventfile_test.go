package podmgr

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// boardWith is a board that keeps its events in a file.
func boardWith(path string) (*Board, *eventFile) {
	b := NewBoard()
	f := &eventFile{path: path, ring: &b.events, log: zerolog.Nop()}
	f.load()
	return b, f
}

func TestEventsOutliveTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.json")
	web := manifests.Key{Namespace: "default", Name: "web"}
	synctest.Test(t, func(t *testing.T) {
		b, f := boardWith(path)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.keep(ctx, b.Changed); close(done) }()
		synctest.Wait() // until it waits
		b.Record(Event{Pod: web, Container: "app", Type: "Warning", Reason: "BackOff", Message: "Back-off"})
		b.Record(Event{Pod: web, Container: "app", Type: "Warning", Reason: "BackOff", Message: "Back-off"})
		time.Sleep(eventsSettle)
		synctest.Wait()
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the first event is not written soon: %v", err)
		}
		time.Sleep(2 * keepEventsPace)
		synctest.Wait()
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		// The board changes, the events do not: nothing is written.
		for range 10 {
			b.Post(&Entry{Key: web})
			time.Sleep(keepEventsPace)
		}
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("the file was written although no event came: %v", err)
		}
		b.Record(Event{Type: "Normal", Reason: "Last", Message: "words"})
		cancel()
		<-done
		again, _ := boardWith(path)
		if d := cmp.Diff(b.Events(manifests.Key{}), again.Events(manifests.Key{}), cmp.Comparer(time.Time.Equal)); d != "" {
			t.Errorf("events after a restart (-before +after):\n%s", d)
		}
		// They go on being counted.
		again.Record(Event{Pod: web, Container: "app", Type: "Warning", Reason: "BackOff", Message: "Back-off"})
		if e := again.Events(web); len(e) != 1 || e[0].Count != 3 {
			t.Errorf("got %+v, want one event that happened 3 times", e)
		}
	})
}

// TestAWarningIsOnDiskSoonAndTheDiskLives counts the writes of an hour in which a warning comes each second.
func TestAWarningIsOnDiskSoonAndTheDiskLives(t *testing.T) {
	web := manifests.Key{Namespace: "default", Name: "web"}
	for name, c := range map[string]struct {
		event       func(i int) Event
		soon        bool // each of the first ones is on disk within two seconds
		most, least int  // writes in an hour
	}{
		"a new warning":       {func(i int) Event { return Event{Pod: web, Type: "Warning", Message: strconv.Itoa(i)} }, true, 500, 240},
		"the same warning":    {func(int) Event { return Event{Pod: web, Type: "Warning"} }, false, 241, 200},
		"a new normal event":  {func(i int) Event { return Event{Pod: web, Type: "Normal", Message: strconv.Itoa(i)} }, false, 241, 200},
		"no event after that": {func(i int) Event { return Event{} }, false, 1, 1},
	} {
		path := filepath.Join(t.TempDir(), "events.json")
		synctest.Test(t, func(t *testing.T) {
			b, f := boardWith(path)
			b.Record(Event{Pod: web, Type: "Normal", Reason: "Started"})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { f.keep(ctx, b.Changed); close(done) }()
			time.Sleep(eventsSettle)
			writes, inode := 0, os.FileInfo(nil)
			for i := range 3600 {
				if e := c.event(i); e != (Event{}) {
					b.Record(e)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				now, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if inode == nil || !os.SameFile(inode, now) {
					writes++
				}
				inode = now
				if c.soon && i == 5 {
					again, _ := boardWith(path)
					if got := again.Events(web); len(got) < i {
						t.Errorf("%s: of %d events a killed agent leaves %d", name, i+2, len(got))
					}
				}
			}
			if writes > c.most || writes < c.least {
				t.Errorf("%s: %d writes in an hour, want %d to %d", name, writes, c.least, c.most)
			}
			t.Logf("%s: %d writes in an hour", name, writes)
			cancel()
			<-done
		})
	}
}

func TestTheFileOfEventsIsBoundedAndMayBeDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.json")
	b, f := boardWith(path)
	for i := range maxEvents {
		b.Record(Event{Pod: manifests.Key{Name: strconv.Itoa(i % 100)}, Reason: strconv.Itoa(i)})
	}
	if err := f.write(); err != nil {
		t.Fatal(err)
	}
	again, _ := boardWith(path)
	if got := again.Events(manifests.Key{}); len(got) != maxEventsKept || got[len(got)-1].Reason != strconv.Itoa(maxEvents-1) {
		t.Errorf("%d events came back, want the newest %d", len(got), maxEventsKept)
	}
	for name, text := range map[string]string{"cut off": `[{"Reason":"x"`, "empty": "", "another kind": `{"a":1}`, "null": "[null]"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		broken, f := boardWith(path)
		if got := broken.Events(manifests.Key{}); len(got) != 0 {
			t.Errorf("%s: got %+v", name, got)
		}
		broken.Record(Event{Reason: "new"})
		if err := f.write(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.path = filepath.Join(t.TempDir(), "no", "such", "directory")
	b.Record(Event{Reason: "more"})
	if err := f.write(); err == nil {
		t.Error("a file that cannot be written is no error")
	}
}
