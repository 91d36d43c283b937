package podmgr

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestPlanOfRestarts(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	checkPlans(t, []planCase{
		{
			name: "an exit is sealed while the image of the next instance is asked for",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 5, 1), unsealed)}},
			do:   []string{"seal new_a_0", "pull app"},
		},
		{
			name: "nothing starts beside an instance that is not sealed",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 5, 1), unsealed)}},
			mem:  pulled(1, "a"),
			do:   []string{"seal new_a_0"},
		},
		{
			name: "the first restart is immediate, and what it starts carries 10 s",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(0, 5, 0))}},
			mem:  pulled(1, "a"),
			do:   []string{"start a#1 carrying 10s"},
		},
		{
			name: "a restart waits as long as the ended instance carries",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, exited(1, 5, 15), carries(40))}},
			mem:  pulled(4, "a"),
			wake: 25 * time.Second,
		},
		{
			name: "after the wait the next instance carries twice as much",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, exited(1, 5, 40), carries(40))}},
			mem:  pulled(4, "a"),
			do:   []string{"start a#4 carrying 1m20s"},
		},
		{
			name: "no instance carries more than 300 s",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 9, exited(1, 5, 300), carries(300))}},
			mem:  pulled(10, "a"),
			do:   []string{"start a#10 carrying 5m0s"},
		},
		{
			name: "a run of 600 s starts the sequence over",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 9, exited(1, 600, 0), carries(300))}},
			mem:  pulled(10, "a"),
			do:   []string{"start a#10 carrying 10s"},
		},
		{
			name: "one that vanished in this sandbox waits from its start on",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, createdAgo(15), vanished, carries(40))}},
			mem:  pulled(4, "a"),
			wake: 25 * time.Second,
		},
		{
			name: "one that vanished with an earlier sandbox starts at once",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, createdAgo(6000), vanished, carries(300))}},
			mem:  pulled(4, "a"),
			do:   []string{"start a#4 carrying 10s"},
		},
		{
			name: "an end in the future waits no longer than the back-off",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 3, exited(1, 5, -1000), carries(40))}},
			mem:  memory{notes: map[string]*note{"new_a_3": {endSeen: ago(10)}}},
			wake: 30 * time.Second,
		},
		{
			name: "OnFailure restarts a failure",
			want: want{pod: wanted(onFailure, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(2, 5, 0))}},
			mem:  pulled(1, "a"),
			do:   []string{"start a#1 carrying 10s"},
		},
		{
			name: "OnFailure restarts what vanished",
			want: want{pod: wanted(onFailure, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, vanished)}},
			mem:  pulled(1, "a"),
			do:   []string{"start a#1 carrying 10s"},
		},
		{
			name: "OnFailure does not restart a success while another container runs",
			want: want{pod: wanted(onFailure, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(0, 5, 0)), instance("new", "b", 0)}},
		},
		{
			name: "Never starts what never ran, even after a reboot",
			want: want{pod: wanted(never, "a", "b")},
			have: Observed{Containers: []Container{instance("new", "a", 0, vanished)}},
			do:   []string{"ensure sandbox new", "pull app"},
		},
	})
}

func TestPlanOfCompletion(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	fresh := []types.UID{"new"}
	checkPlans(t, []planCase{
		{
			name: "a completed pod is sealed before its sandbox goes",
			want: want{pod: wanted(never, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(0, 5, 0), unsealed), instance("new", "b", 0, exited(1, 5, 0))}},
			do:   []string{"seal new_a_0"},
		},
		{
			name: "a completed pod gives up its sandbox",
			want: want{pod: wanted(never, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 5, 0))}, Remains: fresh},
			do:   []string{"remove sandbox new_sandbox"},
		},
		{
			name: "a completed pod is left alone",
			want: want{pod: wanted(onFailure, "a")},
			have: Observed{Containers: []Container{instance("new", "a", 0, exited(0, 5, 0))}, Remains: fresh},
		},
		{
			name: "a Never pod that a reboot interrupted has completed",
			want: want{pod: wanted(never, "a")},
			have: Observed{Sandboxes: sandboxed("new", SandboxLost), Containers: []Container{instance("new", "a", 0, vanished, unsealed)}},
			do:   []string{"seal new_a_0"},
		},
	})
}
