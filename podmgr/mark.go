package podmgr

import "time"

// Mark is what the agent has found out about a running instance and would not know after its restart. The zero Mark is
// that of an instance of which nothing was found out yet.
type Mark struct {
	// Hooked says that its postStart hook has succeeded.
	Hooked bool `json:"hooked,omitempty"`
	// Started and Ready are what its probes have found, Since is when Ready last changed.
	Started bool      `json:"started,omitempty"`
	Ready   bool      `json:"ready,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Ended is why the agent decided that the instance has to end although its pod goes on; empty: it has not.
	Ended EndCause `json:"ended,omitempty"`
}

// EndCause is a reason of the agent to end an instance.
type EndCause string

const (
	// EndedByLiveness says that the liveness probe has failed.
	EndedByLiveness EndCause = "Liveness"
	// EndedByStartup says that the startup probe has failed.
	EndedByStartup EndCause = "Startup"
	// EndedByHook says that its postStart hook has failed.
	EndedByHook EndCause = "PostStart"
	// EndedByChange says that its container has changed in a way that a running instance cannot follow.
	EndedByChange EndCause = "Change"
	// EndedForRestart says that a person asked for the pod to be started anew.
	EndedForRestart EndCause = "Restart"
)

// Equal compares marks; their times are wall times.
func (m Mark) Equal(o Mark) bool {
	since := m.Since.Equal(o.Since)
	m.Since, o.Since = time.Time{}, time.Time{}
	return since && m == o
}

// note is what a worker knows of one instance. Owner: the worker, in its memory.
type note struct {
	// mark is what has to be kept with the instance once own is set, and written what was.
	mark    Mark
	own     bool
	written Mark
	// hookError is what its postStart hook failed with.
	hookError string
	// until is when the time it was given to end is over; zero: nothing ends it. preStopped: its preStop hook was run.
	until      time.Time
	preStopped bool
	// endSeen is when it was first seen ended; it guards back-off against clock jumps.
	endSeen time.Time
}

// note returns the note of an instance that exists, made when there is none.
func (m *memory) note(id string) *note {
	n := m.notes[id]
	if n == nil {
		if m.notes == nil {
			m.notes = map[string]*note{}
		}
		n = &note{}
		m.notes[id] = n
	}
	return n
}

// mark is what is known of an instance.
func (m *memory) mark(c *Container) Mark {
	if n := m.notes[c.ID]; n != nil && n.own {
		return n.mark
	}
	return c.Mark
}

// setMark changes what is known of an instance.
func (m *memory) setMark(c *Container, mark Mark) {
	if mark.Equal(m.mark(c)) {
		return
	}
	n := m.note(c.ID)
	if !n.own {
		n.own, n.written = true, c.Mark
	}
	n.mark = mark
}

// unwritten is the mark that is yet to be kept with an instance.
func (m *memory) unwritten(c *Container) (mark Mark, due bool) {
	n := m.notes[c.ID]
	if n == nil || !n.own || n.mark.Equal(n.written) {
		return Mark{}, false
	}
	return n.mark, true
}

// ending says whether an instance was told to end, and when its time for that is over.
func (m *memory) ending(c *Container) (until time.Time, told bool) {
	if n := m.notes[c.ID]; n != nil && !n.until.IsZero() {
		return n.until, true
	}
	return time.Time{}, false
}

// preStopped says whether the preStop hook of an instance was run.
func (m *memory) preStopped(c *Container) bool {
	n := m.notes[c.ID]
	return n != nil && n.preStopped
}

// hookError is what the postStart hook of an instance failed with, as far as it is known.
func (m *memory) hookError(c *Container) string {
	if n := m.notes[c.ID]; n != nil {
		return n.hookError
	}
	return ""
}
