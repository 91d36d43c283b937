package rows

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

func containerRows() []Row {
	return []Row{
		{
			Name: "command, args and working directory", Fields: each(Both, "command", "args", "workingDir"),
			Container: `{command: [sh, -c, 'trap "exit 0" TERM; { pwd; echo "$0|$1|$2"; } >/out/tmp; mv /out/tmp /out/said; while :; do sleep 3600 & wait; done'],
				args: [zero, one two, $(NOT_SET)], workingDir: /made/by/runtime}`,
			Says: "/made/by/runtime\nzero|one two|$(NOT_SET)",
		},
		{
			Name: "a container's port is open on the host", Fields: each(Both, "ports"),
			Container: "ports: [{name: web, containerPort: 8080, hostPort: @PORT@, hostIP: 127.0.0.1}]",
			Script:    "mkdir /www; echo @NAME@ >/www/index.html; httpd -p 8080 -h /www", Says: "",
			Look: func(x *X) {
				x.Eventually("an answer on the host's port", func() string {
					got, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", x.Port))
					if err != nil {
						return err.Error()
					}
					if got != x.Name {
						return "it says " + got
					}
					return ""
				})
			},
		},
		{
			Name: "ports of UDP and SCTP are the host's too", Fields: each(Both, "ports"),
			Container: `ports: [{name: dns, containerPort: 5353, hostPort: @PORT@, hostIP: 127.0.0.1, protocol: UDP}, {name: s1, containerPort: 36412, hostPort: @PORT@, protocol: SCTP}]`,
			Look: func(x *X) {
				rules, err := exec.Command("iptables-save", "-t", "nat").Output()
				if err != nil {
					x.Fatalf("reading the kernel's table of ports: %v", err)
				}
				ip := x.Pod().Status.PodIP
				for _, want := range []string{
					fmt.Sprintf(`-d 127\.0\.0\.1/32 -p udp .*--dport %d -j DNAT --to-destination %s:5353`, x.Port, ip),
					fmt.Sprintf(`-p sctp .*--dport %d -j DNAT --to-destination %s:36412`, x.Port, ip),
				} {
					if !regexp.MustCompile(want).Match(rules) {
						x.Errorf("the kernel has no rule %s", want)
					}
				}
			},
		},
		{
			Name: "an image that may not be pulled has to be here", Fields: each(Both, "imagePullPolicy"),
			Pod: "{restartPolicy: Always, containers: [{name: missing, image: 'edgepod.dev/none:1', imagePullPolicy: Never}]}", Container: "imagePullPolicy: Never",
			Script: "echo here", Says: "here",
			Until: func(p *v1.Pod) bool { return appRuns(p) && waiting(p, "missing") == "ErrImageNeverPull" },
		},
		{
			Name: "what is typed into an attach reaches the container", Fields: each(Both, "stdin"),
			Container: "stdin: true", Script: "read word; echo $word",
			Look: func(x *X) {
				if !x.Again {
					x.attach("typed\n")
				}
				x.Eventually("the container to say it", func() string { return differ(x.Read("said"), "typed") })
			},
		},
		{
			Name: "stdin of one attach ends with it", Fields: each(Both, "stdinOnce"),
			Container: "{stdin: true, stdinOnce: true}", Script: "[ -e /out/got ] || { cat >/out/all; mv /out/all /out/got; exit 1; }", Until: appRuns,
			Look: func(x *X) {
				if !x.Again {
					x.attach("all of it") // and the container ends, and the attach with it
				}
				x.Want("what was typed", x.Read("got"), "all of it")
			},
		},
		{
			Name: "a terminal", Fields: each(Both, "tty"), Container: "{stdin: true, tty: true}", Script: "tty", Says: "/dev/pts/0",
		},
		{Name: "images of a private registry", Fields: each("spec.", "imagePullSecrets"), Test: "TestAnImageOfAPrivateRegistryIsForPodsWithItsSecret"},
		{
			Name: "the message of the end is read from the container's file", Fields: each(Both, "terminationMessagePath", "terminationMessagePolicy"),
			Container: "{terminationMessagePath: /tmp/why, terminationMessagePolicy: File}", Script: "echo run >>/out/runs; [ $(wc -l </out/runs) -gt 1 ] || { echo -n because >/tmp/why; exit 3; }; echo again", Says: "again",
			Look: func(x *X) {
				x.Eventually("the last state to have the message", func() string { // what it says may be newer than the status
					if last := x.Status("app").LastTerminationState.Terminated; last == nil || last.Message != "because" || last.ExitCode != 3 {
						return fmt.Sprintf("it is %+v, want the message \"because\" and exit code 3", last)
					}
					return ""
				})
			},
		},
	}
}

// appRuns says whether the container "app" runs.
func appRuns(p *v1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), func(c v1.ContainerStatus) bool {
		return c.Name == "app" && c.State.Running != nil
	})
}

// waiting is the reason why a container waits.
func waiting(p *v1.Pod, container string) string {
	for _, list := range [][]v1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range list {
			if c.Name == container && c.State.Waiting != nil {
				return c.State.Waiting.Reason
			}
		}
	}
	return ""
}

// fetch asks a URL once.
func fetch(url string) (string, error) {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return strings.TrimSpace(string(b)), err
}
