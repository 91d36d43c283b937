package rows

import (
	"strings"

	v1 "k8s.io/api/core/v1"
)

// once is the beginning of a script that counts its runs in /out/runs and ends its first with an exit code.
func once(code string) string {
	return "echo run >>/out/runs; [ $(wc -l </out/runs) -gt 1 ] || exit " + code + "; "
}

// ended is a pod that has ended.
func ended(p *v1.Pod) bool {
	return p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed
}

func lifecycleRows() []Row {
	runs := func(want int) func(*X) {
		return func(x *X) { x.Want("the number of runs", x.Count("runs"), want) }
	}
	return []Row{
		{
			Name: "restartPolicy Always starts a failed container again", Fields: each("spec.", "restartPolicy"),
			Pod: "restartPolicy: Always", Script: once("0"), Look: func(x *X) {
				x.Eventually("the second run", func() string { return differ(x.Count("runs"), 2) })
			},
		},
		{
			Name: "restartPolicy OnFailure is content with exit code 0", Fields: each("spec.", "restartPolicy"),
			Pod: "restartPolicy: OnFailure", Script: once("3") + "exit 0", Until: ended, Look: runs(2),
		},
		{
			Name: "restartPolicy Never runs once", Fields: each("spec.", "restartPolicy"),
			Pod: "restartPolicy: Never", Script: "echo run >>/out/runs; exit 3", Until: ended, Look: runs(1),
		},
		{
			Name: "a container's restartPolicy comes before the pod's", Fields: each(Both, "restartPolicy"),
			Pod: "restartPolicy: Never", Container: "restartPolicy: Always", Script: once("3"),
			Look: func(x *X) { x.Eventually("the second run", func() string { return differ(x.Count("runs"), 2) }) },
		},
		{
			Name: "an exit code decides by the container's rules", Fields: each(Both, "restartPolicyRules"),
			Pod: "restartPolicy: Never", Container: "{restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]}",
			Script: once("42"), Look: func(x *X) { x.Eventually("the second run", func() string { return differ(x.Count("runs"), 2) }) },
		},
		{
			Name: "no rule for an exit code leaves it to the policy", Fields: each("spec.containers[*].", "restartPolicyRules"),
			Pod: "restartPolicy: Never", Container: "{restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]}",
			Script: "echo run >>/out/runs; exit 41", Until: ended, Look: runs(1),
		},
		{
			Name: "a readiness gate that nobody opens keeps the pod unready", Fields: each("spec.", "readinessGates"),
			Pod: "readinessGates: [{conditionType: example.com/open}]", Script: "echo runs", Says: "runs",
			Look: func(x *X) {
				for _, c := range x.Pod().Status.Conditions {
					want := v1.ConditionTrue
					if c.Type == v1.PodReady {
						want = v1.ConditionFalse
					}
					x.Want("the condition "+string(c.Type), c.Status, want)
				}
			},
		},
		{
			Name: "a preStop hook that takes too long is over with the grace period", Fields: each(Both, "lifecycle.preStop"),
			Pod: "terminationGracePeriodSeconds: 10", Container: `lifecycle: {preStop: {exec: {command: [sh, -c, "while :; do echo tick >>/out/ticks; usleep 100000; done"]}}}`,
			Script: "trap 'echo term >>/out/order; exit 0' TERM",
			After: func(x *X) {
				x.Want("what the container was told in the end", x.Read("order"), "term")
				if n := x.Count("ticks"); n < 3 || n > 120 { // of all pods that end at once
					x.Errorf("the hook ran for %d ticks of 0.1 s and more, want about 10 s", n)
				}
			},
		},
		{
			Name: "the grace period is waited for and then over", Fields: each("spec.", "terminationGracePeriodSeconds"),
			Pod: "terminationGracePeriodSeconds: 4", Script: "trap 'while :; do echo tick >>/out/ticks; usleep 100000; done' TERM",
			After: func(x *X) {
				if n := x.Count("ticks"); n < 3 || n > 80 {
					x.Errorf("the container ran on for %d ticks of 0.1 s and more after TERM, want about 4 s", n)
				}
			},
		},
		{
			Name: "the deadline ends the pod for good", Fields: each("spec.", "activeDeadlineSeconds"),
			Pod: "activeDeadlineSeconds: 15", Script: "echo run >>/out/runs; trap 'echo term >>/out/order; exit 0' TERM", Until: ended,
			Look: func(x *X) {
				x.Want("the number of runs", x.Count("runs"), 1)
				x.Want("what the container was told", x.Read("order"), "term")
				x.Want("the reason", x.Pod().Status.Reason, "DeadlineExceeded")
			},
		},
		{
			Name: "hooks run after the start and before the end", Fields: each(Both+"lifecycle.", "postStart", "preStop"),
			Container: `lifecycle: {postStart: {exec: {command: [sh, -c, "echo post >>/out/order"]}}, preStop: {exec: {command: [sh, -c, "echo pre >>/out/order"]}}}`,
			Script:    "trap 'echo term >>/out/order; exit 0' TERM",
			Look:      func(x *X) { x.Want("the order", x.Read("order"), "post") },
			After:     func(x *X) { x.Want("the order", words(x.Read("order")), "post pre term") },
		},
		{
			Name: "stopSignal ends the container", Fields: append(each(Both, "lifecycle.stopSignal"), "spec.os.name"),
			Pod: "os: {name: linux}", Container: "lifecycle: {stopSignal: SIGUSR1}",
			Script: "trap 'echo usr1 >>/out/order; exit 0' USR1; trap 'echo term >>/out/order; exit 0' TERM",
			After:  func(x *X) { x.Want("what the container was told", words(x.Read("order")), "usr1") },
		},
		{
			Name: "a container that fails in silence leaves its last lines", Fields: each("spec.containers[*].", "terminationMessagePolicy"),
			Pod:       "restartPolicy: Never",
			Container: "{terminationMessagePolicy: FallbackToLogsOnError, command: [sh, -c, 'echo last words >&2; exit 3']}", Until: ended,
			Look: func(x *X) { x.Want("its message", x.message(), "last words\n") },
		},
		{
			Name: "what a container writes down comes before its log", Fields: each("spec.containers[*].", "terminationMessagePolicy"),
			Pod:       "restartPolicy: Never",
			Container: "{terminationMessagePolicy: FallbackToLogsOnError, command: [sh, -c, 'echo noise; printf why >/dev/termination-log; exit 3']}", Until: ended,
			Look: func(x *X) { x.Want("its message", x.message(), "why") },
		},
		{
			Name: "hooks of kind httpGet and sleep", Fields: each(Both+"lifecycle.", "postStart", "preStop"), Before: func(x *X) { x.serve() },
			Container: `lifecycle: {postStart: {sleep: {seconds: 1}}, preStop: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /bye, httpHeaders: [{name: X-Why, value: end}]}}}`,
			After:     func(x *X) { x.Contains("what the server was asked", x.asked(), "GET /bye X-Why=end") },
		},
		{
			Name: "sidecars start before and end after, in reverse", Fields: []string{"spec.initContainers[*].restartPolicy", "spec.initContainers[*].startupProbe"},
			Pod: `terminationGracePeriodSeconds: 30
initContainers:
- {name: one, restartPolicy: Always, command: [sh, -c, "echo one >>/out/start; trap 'echo one >>/out/end; exit 0' TERM; sleep 3600 & wait"], startupProbe: {exec: {command: ["true"]}, periodSeconds: 1, timeoutSeconds: 10}}
- {name: plain, command: [sh, -c, "echo plain >>/out/start"]}
- {name: two, restartPolicy: Always, command: [sh, -c, "sleep 1; echo two >>/out/start; trap 'echo two >>/out/end; exit 0' TERM; touch /tmp/up; sleep 3600 & wait"], startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 30}}`,
			Script: "echo app >>/out/start; trap 'echo app >>/out/end; exit 0' TERM",
			Look: func(x *X) {
				x.Eventually("all to start in order", func() string { return differ(words(x.Read("start")), "one plain two app") })
			},
			After: func(x *X) { x.Want("the order of the end", words(x.Read("end")), "app two one") },
		},
	}
}

// message is the termination message of the container "app".
func (x *X) message() string {
	if t := x.Pod().Status.ContainerStatuses[0].State.Terminated; t != nil {
		return t.Message
	}
	return "(it has not ended)"
}

// words puts lines into one line.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }
