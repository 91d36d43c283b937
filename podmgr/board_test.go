package podmgr

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"edgepod.dev/agent/manifests"
)

func key(name string) manifests.Key { return manifests.Key{Namespace: "default", Name: name} }

func TestTheBoardShowsWhatWasPostedLast(t *testing.T) {
	b := NewBoard()
	for _, name := range []string{"c", "a", "b", "a"} {
		b.Post(&Entry{Key: key(name), Source: fmt.Sprint(len(b.List()))})
	}
	b.Drop(key("b"))
	b.Drop(key("never there"))
	var names []string
	for _, e := range b.List() {
		names = append(names, e.Key.Name)
	}
	if got := strings.Join(names, " "); got != "a c" {
		t.Errorf("the board lists %q", got)
	}
	if e, ok := b.Get(key("a")); !ok || e.Source != "3" {
		t.Errorf("of a it shows %+v", e)
	}
	if _, ok := b.Get(key("b")); ok {
		t.Error("it still shows b")
	}
}

func TestEachChangeOfTheBoardIsSignalled(t *testing.T) {
	b := NewBoard()
	changed := func() bool {
		select {
		case <-b.Changed():
			return true
		default:
			return false
		}
	}
	for name, change := range map[string]func(){
		"a post":    func() { b.Post(&Entry{Key: key("a")}) },
		"a problem": func() { b.SetProblems([]manifests.Problem{{Message: "no"}}) },
		"an event":  func() { b.Record(Event{Reason: "Started"}) },
	} {
		before := b.Changed()
		change()
		select {
		case <-before:
		default:
			t.Errorf("%s was not signalled", name)
		}
		if changed() {
			t.Errorf("after %s the new signal is spent already", name)
		}
	}
	before := b.Changed()
	b.SetProblems([]manifests.Problem{{Message: "no"}})
	b.Drop(key("never there"))
	select {
	case <-before:
		t.Error("a change was signalled though nothing changed")
	default:
	}
}

func TestReadersMissNoChange(t *testing.T) {
	b := NewBoard()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				changed := b.Changed()
				if len(b.List()) == 100 {
					return
				}
				<-changed
			}
		})
	}
	for i := range 100 {
		group.Go(func() { b.Post(&Entry{Key: key(fmt.Sprint(i))}) })
	}
	group.Wait()
}

func TestRepeatedEventsAreCounted(t *testing.T) {
	b := NewBoard()
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	b.Record(Event{Pod: key("a"), Container: "x", Reason: "BackOff", Message: "m", First: at(1), Last: at(1)})
	b.Record(Event{Pod: key("a"), Container: "x", Reason: "Started", First: at(2), Last: at(2)})
	b.Record(Event{Pod: key("b"), Container: "x", Reason: "BackOff", Message: "m", First: at(3), Last: at(3)})
	b.Record(Event{Pod: key("a"), Container: "x", Reason: "BackOff", Message: "m", First: at(4), Last: at(4)})
	got := b.Events(key("a"))
	if len(got) != 2 || got[1].Reason != "BackOff" || got[1].Count != 2 || !got[1].First.Equal(at(1)) || !got[1].Last.Equal(at(4)) {
		t.Errorf("the events of a are %+v", got)
	}
	if n := len(b.Events(manifests.Key{})); n != 3 {
		t.Errorf("there are %d events in all", n)
	}
}

// TestWarningsOutliveTheNoiseOfOtherPods: what the manifest of one pod warns of is there after 147 others have started, in
// memory and in the file.
func TestWarningsOutliveTheNoiseOfOtherPods(t *testing.T) {
	b := NewBoard()
	for i := range 14 {
		b.Record(Event{Pod: key("idle"), Type: warning, Reason: "IgnoredField", Message: fmt.Sprint("spec.", i)})
	}
	for i := range 147 {
		for _, reason := range []string{"Pulled", "Created", "Started", "Killing", "Pulled again", "Created again", "Started again", "Killing again"} {
			b.Record(Event{Pod: key(fmt.Sprint(i)), Type: normal, Reason: reason})
		}
		b.Record(Event{Pod: key("idle"), Type: normal, Reason: "Noise", Message: fmt.Sprint(i)})
	}
	warned := func(events []Event) (n int) {
		for _, e := range events {
			if e.Type == warning {
				n++
			}
		}
		return n
	}
	if n := warned(b.Events(key("idle"))); n != 14 {
		t.Errorf("%d of 14 warnings are left", n)
	}
	if all := b.Events(manifests.Key{}); len(all) > maxEvents || len(b.Events(key("idle"))) > maxEventsPerPod {
		t.Errorf("there are %d events, %d of one pod", len(all), len(b.Events(key("idle"))))
	}
	kept, _ := b.events.newest(maxEventsKept)
	n, last := 0, time.Time{}
	for _, e := range kept {
		if e.Type == warning {
			n++
		}
		if e.Last.Before(last) {
			t.Error("the events are not in the order of their time")
		}
		last = e.Last
	}
	if n != 14 || len(kept) != maxEventsKept {
		t.Errorf("%d events would be written, %d of them warnings", len(kept), n)
	}
}

// TestWarningsDoNotPushOutEverythingElse: a share of what is kept is for normal events.
func TestWarningsDoNotPushOutEverythingElse(t *testing.T) {
	b := NewBoard()
	for i := range 5 * maxEvents {
		kind := warning
		if i%5 == 0 {
			kind = normal
		}
		b.Record(Event{Pod: key(fmt.Sprint(i % 200)), Type: kind, Message: fmt.Sprint(i)})
	}
	kept, _ := b.events.newest(maxEventsKept)
	normals := 0
	for _, e := range kept {
		if e.Type == normal {
			normals++
		}
	}
	if len(kept) != maxEventsKept || normals != maxEventsKept/minNormal {
		t.Errorf("of %d events %d are normal, want %d", len(kept), normals, maxEventsKept/minNormal)
	}
}

func TestEventsAreBounded(t *testing.T) {
	b := NewBoard()
	for i := range 500 {
		b.Record(Event{Pod: key("a"), Reason: "Noise", Message: fmt.Sprint(i, strings.Repeat("ü", 2000))})
	}
	got := b.Events(key("a"))
	if len(got) != maxEventsPerPod || !strings.HasPrefix(got[len(got)-1].Message, "499") {
		t.Errorf("one pod has %d events, the last is %.9q", len(got), got[len(got)-1].Message)
	}
	if m := got[0].Message; len(m) > maxEventMessage || !utf8.ValidString(m) {
		t.Errorf("a message has %d bytes, valid UTF-8: %v", len(m), utf8.ValidString(m))
	}
	for i := range 3000 {
		b.Record(Event{Pod: key(fmt.Sprint(i)), Reason: "Noise"})
	}
	if n := len(b.Events(manifests.Key{})); n != maxEvents {
		t.Errorf("there are %d events in all", n)
	}
}
