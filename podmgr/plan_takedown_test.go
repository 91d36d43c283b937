package podmgr

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestPlanForWhatIsNotWanted(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	broken := fmt.Errorf("broken")
	deleted := wanted(always, "a")
	deleted.Object.DeletionTimestamp = &metav1.Time{Time: noon}
	deleted.Object.DeletionGracePeriodSeconds = new(int64(3))
	checkPlans(t, []planCase{
		{
			name: "the running containers of another version are stopped, all at once, while the new image is fetched",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Containers: []Container{instance("old", "a", 0), instance("old", "b", 1)}, Remains: []types.UID{"old"}},
			do:   []string{"stop old_a_0 within 30s", "stop old_b_1 within 30s", "pull app"},
		},
		{
			name: "what has ended of another version is removed unsealed",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Containers: []Container{instance("old", "a", 0, exited(0, 1, 1), unsealed), instance("old", "b", 1)}},
			mem:  pulled(0, "a"),
			do:   []string{"remove old_a_0", "stop old_b_1 within 30s"},
		},
		{
			name: "the sandbox of another version goes after its containers",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Remains: []types.UID{"old"}},
			mem:  pulled(0, "a"),
			do:   []string{"remove sandbox old_sandbox"},
		},
		{
			name: "what remains of another version goes last, and nothing new comes before",
			want: want{pod: wanted(always, "a")},
			have: Observed{Remains: []types.UID{"old"}},
			mem:  pulled(0, "a"),
			do:   []string{"forget old"},
		},
		{
			name: "nothing new starts beside another version even if its sandbox is ready",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: append(sandboxed("old", SandboxReady), ready...), Containers: []Container{instance("old", "a", 0)}},
			mem:  pulled(0, "a"),
			do:   []string{"stop old_a_0 within 30s"},
		},
		{
			name: "versions that are not wanted go independently of each other",
			want: want{},
			have: Observed{
				Sandboxes:  append(sandboxed("x", SandboxReady), sandboxed("y", SandboxLost)...),
				Containers: []Container{instance("x", "a", 0)}, Remains: []types.UID{"x", "y", "z"},
			},
			do: []string{"stop x_a_0 within 30s", "remove sandbox y_sandbox", "forget z"},
		},
		{
			name: "what lost its UID goes too",
			want: want{},
			have: Observed{Containers: []Container{instance("", "a", 0)}},
			do:   []string{"stop _a_0 within 30s"},
		},
		{
			name: "what was only created is removed without a stop",
			want: want{},
			have: Observed{Containers: []Container{instance("old", "a", 0, created)}},
			do:   []string{"remove old_a_0"},
		},
		{
			name: "while a source with precedence has not spoken, what runs goes on and nothing comes beside it",
			want: want{pod: wanted(always, "a"), hold: true},
			have: Observed{Sandboxes: sandboxed("old", SandboxReady), Containers: []Container{instance("old", "a", 0)}, Remains: []types.UID{"old", "z"}},
			mem:  pulled(0, "a"),
		},
		{
			name: "a pod that the API server deletes has the grace it gives",
			want: want{pod: deleted},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}},
			do:   []string{"stop new_a_0 within 3s"},
		},
		{
			name: "a stop that failed is repeated after a while",
			want: want{pod: wanted(always, "a")},
			have: Observed{Containers: []Container{instance("new", "x", 0)}, Sandboxes: ready},
			mem: func() memory {
				m := pulled(0, "a")
				m.settle(action{verb: stop, uid: "new", target: "new_x_0"}, broken, noon)
				return m
			}(),
			do:   []string{"start a#0"},
			wake: 200 * time.Millisecond,
		},
	})
}

func TestPlanAmongInstances(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	checkPlans(t, []planCase{
		{
			name: "a container that the spec does not name is stopped",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "x", 0)}},
			do:   []string{"stop new_x_0 within 30s"},
		},
		{
			name: "an instance that runs beside a newer one is stopped before anything starts",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "a", 1, exited(1, 1, 1))}},
			mem:  pulled(2, "a"),
			do:   []string{"stop new_a_0 within 30s"},
		},
		{
			name: "old instances are removed, all but the last two",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(1, 1, 99)), instance("new", "a", 1, exited(1, 1, 88)),
				instance("new", "a", 2, exited(1, 1, 77)), instance("new", "a", 3),
			}},
			do: []string{"remove new_a_0", "remove new_a_1"},
		},
		{
			name: "an old instance that never ran is removed",
			want: want{pod: wanted(always, "a")},
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, created), instance("new", "a", 1)}},
			do:   []string{"remove new_a_0"},
		},
		{
			name: "old instances do not delay a start",
			want: want{pod: wanted(always, "a", "b")},
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(1, 1, 99)), instance("new", "a", 1, exited(1, 1, 88)), instance("new", "a", 2),
			}},
			mem: pulled(0, "b"),
			do:  []string{"start b#0"},
		},
	})
}
