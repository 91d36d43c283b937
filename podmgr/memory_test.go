package podmgr

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestMemoryForgetsWhatIsGone(t *testing.T) {
	m := failedBefore(pulled(0, "a"), pull, "app", 0, 1, 0, fmt.Errorf("broken"))
	m.settle(action{verb: stop, uid: "old", target: "old_a_0"}, fmt.Errorf("broken"), noon)
	m.settle(action{verb: forget, uid: "old"}, fmt.Errorf("broken"), noon)
	have := Observed{Containers: []Container{instance("new", "a", 0, exited(0, 1, 1))}}
	m.sees(&have, noon)
	if len(m.failed) != 1 || len(m.notes) != 1 {
		t.Errorf("it remembers %v and %v", m.failed, m.notes)
	}
	newer := wanted(always, "a")
	newer.Object.UID = "newer"
	m.wants(want{pod: newer})
	m.sees(&Observed{}, noon)
	if len(m.failed)+len(m.notes)+len(m.pulled) != 0 {
		t.Errorf("it still remembers %v, %v and %v", m.failed, m.notes, m.pulled)
	}
}

func TestNewestInstances(t *testing.T) {
	o := Observed{Containers: []Container{instance("new", "a", 2), instance("new", "a", 7), instance("old", "a", 9), instance("new", "a", 5)}}
	last, before := o.newest("new", "a")
	if last.Attempt != 7 || before.Attempt != 5 {
		t.Errorf("the newest are %d and %d", last.Attempt, before.Attempt)
	}
	slices.Reverse(o.Containers)
	if last, before = o.newest("new", "a"); last.Attempt != 7 || before.Attempt != 5 {
		t.Errorf("in another order the newest are %d and %d", last.Attempt, before.Attempt)
	}
}

func TestFailuresOfOneAttemptDoNotCountForTheNext(t *testing.T) {
	m := failedBefore(memory{}, start, "a", 0, 5, 0, fmt.Errorf("broken"))
	m = failedBefore(m, start, "a", 1, 1, 0, fmt.Errorf("broken"))
	if f := m.failed[stepKey{verb: start, uid: "new", target: "a"}]; f.count != 1 || f.retry != noon.Add(time.Second) {
		t.Errorf("the first failure of the next attempt is remembered as %+v", f)
	}
}
