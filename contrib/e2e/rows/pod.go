package rows

import "strconv"

func podRows() []Row {
	shared := func(kind string) func(*X) {
		return func(x *X) { x.Want("the namespace "+kind, x.Namespace(kind), x.HostNamespace(kind)) }
	}
	return []Row{
		{Name: "the host's processes", Fields: each("spec.", "hostPID"), Pod: "hostPID: true", Look: shared("pid")},
		{Name: "the host's IPC", Fields: each("spec.", "hostIPC"), Pod: "hostIPC: true", Look: shared("ipc")},
		{
			Name: "containers see each other's processes", Fields: each("spec.", "shareProcessNamespace"),
			Pod: "{shareProcessNamespace: true, containers: [{name: other, command: [sh, -c, 'trap \"exit 0\" TERM; sleep 4711 & wait']}]}", Script: "cat /proc/1/comm", Says: "pause",
			Look: func(x *X) {
				x.Want("the namespace", x.Namespace("pid"), namespaceOf(x, strconv.Itoa(x.PIDOf("other")), "pid"))
				x.Contains("the processes", x.Exec("ps"), "sleep 4711")
			},
		},
		{
			Name: "containers of a pod share network and IPC and nothing else", Fields: each("spec.", "shareProcessNamespace", "hostPID", "hostIPC"),
			Pod: "containers: [{name: other, command: [sh, -c, 'trap \"exit 0\" TERM; sleep 4712 & wait']}]", Script: "echo here",
			Look: func(x *X) {
				other := strconv.Itoa(x.PIDOf("other"))
				for kind, same := range map[string]bool{"net": true, "ipc": true, "uts": true, "pid": false, "mnt": false} {
					if got := x.Namespace(kind) == namespaceOf(x, other, kind); got != same {
						x.Errorf("the namespace %s is shared: %t, want %t", kind, got, same)
					}
				}
			},
		},
	}
}
