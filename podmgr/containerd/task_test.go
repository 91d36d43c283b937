package containerd

import (
	"testing"
	"time"

	"github.com/containerd/containerd/api/types/task"
)

func TestAnEndIsKnownWithItsTime(t *testing.T) {
	then, later := time.Unix(100, 0), time.Unix(101, 0)
	for _, tc := range []struct {
		name  string
		state taskState
		event *exit
		want  exit
		known bool
	}{
		{"the shim says all", taskState{status: task.Status_STOPPED, code: 3, exited: then}, nil, exit{3, then}, true},
		{"the shim comes before the event", taskState{status: task.Status_STOPPED, code: 3, exited: then}, &exit{4, later}, exit{3, then}, true},
		{"the shim does not know how yet", taskState{status: task.Status_STOPPED}, nil, exit{}, false},
		{"the event does", taskState{status: task.Status_STOPPED}, &exit{137, then}, exit{137, then}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var event exit
			if tc.event != nil {
				event = *tc.event
			}
			if got, known := tc.state.exit(event, tc.event != nil); known != tc.known || known && got != tc.want {
				t.Errorf("%v %v, want %v %v", got, known, tc.want, tc.known)
			}
		})
	}
}
