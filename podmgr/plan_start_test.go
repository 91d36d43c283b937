package podmgr

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestPlanOfTheFirstStart(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	fresh := []types.UID{"new"}
	checkPlans(t, []planCase{
		{
			name: "a pod that does not exist gets its sandbox and its image at once",
			want: want{pod: wanted(always, "a")},
			do:   []string{"ensure sandbox new", "pull app"},
		},
		{
			name: "an image that several containers use is pulled once",
			want: want{pod: wanted(always, "a", "b", "c")},
			do:   []string{"ensure sandbox new", "pull app"},
		},
		{
			name: "a container whose image is here is prepared while its sandbox is made",
			want: want{pod: wanted(always, "a")},
			have: Observed{Remains: fresh},
			mem:  pulled(0, "a"),
			do:   []string{"ensure sandbox new", "start a#0"},
		},
		{
			name: "all containers start once the sandbox and the image are there",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Remains: fresh},
			mem:  pulled(0, "a", "b"),
			do:   []string{"start a#0", "start b#0"},
		},
		{
			name: "a container that runs does not hinder another",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}},
			mem:  pulled(0, "b"),
			do:   []string{"start b#0"},
		},
		{
			name: "an instance that someone else removed is counted on from",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  memory{uid: "new", ran: map[string]int{"a": 3}, pulled: map[string]int{"a": 4}},
			do:   []string{"start a#3"},
		},
		{
			name: "a pod that runs is left alone",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "b", 3)}, Remains: fresh},
		},
		{
			name: "a start that was cut off is repeated for the same attempt",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 2, created, carries(20))}},
			do:   []string{"start a#2 carrying 20s"},
		},
		{
			name: "a start that was cut off goes on while the sandbox is mended",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("new", SandboxRepair), Containers: []Container{instance("new", "a", 0, created)}},
			do:   []string{"ensure sandbox new", "start a#0"},
		},
		{
			name: "what was created for an earlier sandbox is removed first",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, createdAgo(6000), created)}},
			do:   []string{"remove new_a_0"},
		},
	})
}

func TestPlanAfterFailures(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	broken := fmt.Errorf("broken")
	checkPlans(t, []planCase{
		{
			name: "a failed sandbox waits, its image does not",
			want: want{pod: wanted(always, "a")},
			mem:  failedBefore(memory{}, ensureSandbox, "", 0, 1, 0, broken),
			do:   []string{"pull app"},
			wake: time.Second,
		},
		{
			name: "a failed sandbox is tried again in time, and its container with it",
			want: want{pod: wanted(always, "a")},
			mem:  failedBefore(pulled(0, "a"), ensureSandbox, "", 0, 6, 30, broken),
			do:   []string{"ensure sandbox new", "start a#0"},
		},
		{
			name: "a failed sandbox waits for at most 30 s",
			want: want{pod: wanted(always, "a")},
			mem:  failedBefore(pulled(0, "a"), ensureSandbox, "", 0, 50, 1, broken),
			wake: 29 * time.Second,
		},
		{
			name: "a failed pull first shows its error",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 1, 0, broken),
			wake: errShown,
		},
		{
			name: "a failed pull waits",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 2, 5, broken),
			wake: 15 * time.Second,
		},
		{
			name: "a failed pull waits for at most 300 s",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 60, 10, broken),
			wake: 290 * time.Second,
		},
		{
			name: "an image that must not be pulled is looked for again soon",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(memory{}, pull, "app", 0, 60, 5, &ReasonError{Reason: "ErrImageNeverPull", Err: broken}),
			wake: 5 * time.Second,
		},
		{
			name: "after a failed start the image is asked for again",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem:  failedBefore(pulled(0, "a"), start, "a", 0, 1, 0, broken),
			do:   []string{"pull app"},
		},
		{
			name: "a failed start waits",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready},
			mem: func() memory {
				m := failedBefore(pulled(0, "a"), start, "a", 0, 3, 1, broken)
				m.pulledFor("a", 0)
				return m
			}(),
			wake: 3 * time.Second,
		},
		{
			name: "a failed start of one attempt does not hold back the next",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(128, 0, 1))}},
			mem: func() memory {
				m := failedBefore(memory{uid: "new"}, start, "a", 0, 3, 1, broken)
				m.pulledFor("a", 1)
				return m
			}(),
			do: []string{"start a#1 carrying 10s"},
		},
	})
}

func TestPlanForTheSandbox(t *testing.T) {
	fresh := []types.UID{"new"}
	checkPlans(t, []planCase{
		{
			name: "a broken sandbox is mended while its containers run on and another is prepared",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: sandboxed("new", SandboxRepair), Containers: []Container{instance("new", "a", 0)}},
			mem:  pulled(0, "b"),
			do:   []string{"ensure sandbox new", "start b#0"},
		},
		{
			name: "of a lost sandbox the ended are sealed, the running stopped and the created removed",
			want: want{pod: wanted(always, "a", "b", "c")},
			have: Observed{Sandboxes: sandboxed("new", SandboxLost), Containers: []Container{
				instance("new", "a", 0, vanished, unsealed), instance("new", "b", 0), instance("new", "c", 0, created),
			}},
			mem: pulled(1, "a"),
			do:  []string{"seal new_a_0", "stop new_b_0 within 30s", "remove new_c_0"},
		},
		{
			name: "a lost sandbox stays while something lives in it",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: sandboxed("new", SandboxLost), Containers: []Container{instance("new", "a", 0, vanished), instance("new", "b", 0)}},
			mem:  pulled(1, "a"),
			do:   []string{"stop new_b_0 within 30s"},
		},
		{
			name: "a lost sandbox goes when nothing lives in it",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("new", SandboxLost), Containers: []Container{instance("new", "a", 0, vanished)}},
			mem:  pulled(1, "a"),
			do:   []string{"remove sandbox new_sandbox"},
		},
		{
			name: "a lost sandbox is made anew while the container's next attempt is prepared",
			want: want{pod: wanted(always, "a")},
			have: Observed{Containers: []Container{instance("new", "a", 0, vanished)}, Remains: fresh},
			mem:  pulled(1, "a"),
			do:   []string{"ensure sandbox new", "start a#1 carrying 10s"},
		},
	})
}
