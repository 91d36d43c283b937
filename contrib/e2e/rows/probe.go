package rows

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

func probeRows() []Row {
	runs := func(want int) func(*X) {
		return func(x *X) {
			x.Eventually("runs of the container", func() string { return differ(x.Count("runs"), want) })
		}
	}
	const web = "mkdir /www; echo ok >/www/index.html; httpd -p 8080 -h /www"
	asked := func(words ...string) func(*X) {
		return func(x *X) {
			x.Eventually("the server to be asked", func() string {
				for _, w := range words {
					if w = x.fill(w); !strings.Contains(x.asked(), w) {
						return "no " + w + " in\n" + x.asked()
					}
				}
				return ""
			})
		}
	}
	return []Row{
		{
			Name: "a failing liveness probe starts the container again", Fields: each(Both, "livenessProbe"),
			Container: `livenessProbe: {exec: {command: [test, "!", -e, /tmp/sick]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2}`,
			Script:    "echo run >>/out/runs; [ $(wc -l </out/runs) -gt 1 ] || touch /tmp/sick", Look: runs(2),
		},
		{
			Name: "a probe's own grace period comes before the pod's", Fields: each(Both, "livenessProbe"),
			Pod:       "terminationGracePeriodSeconds: 90",
			Container: `livenessProbe: {exec: {command: [test, "!", -e, /tmp/sick]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1, terminationGracePeriodSeconds: 1}`,
			Script:    "echo run >>/out/runs; [ $(wc -l </out/runs) -gt 1 ] || { trap '' TERM; touch /tmp/sick; }", Look: runs(2),
		},
		{
			Name: "a failing startup probe starts the container again", Fields: each(Both, "startupProbe"),
			Container: "startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2, terminationGracePeriodSeconds: 1}",
			Script:    "echo run >>/out/runs; [ $(wc -l </out/runs) -lt 2 ] || touch /tmp/up", Look: runs(2),
		},
		{
			Name: "the other probes wait for the startup probe", Fields: each(Both, "startupProbe", "livenessProbe", "readinessProbe"),
			Container: `{startupProbe: {exec: {command: [test, -e, /out/up]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 60},
				livenessProbe: {exec: {command: [sh, -c, "test -e /out/up || touch /out/early-l; echo l >>/out/asked-l"]}, periodSeconds: 1, timeoutSeconds: 10},
				readinessProbe: {exec: {command: [sh, -c, "test -e /out/up || touch /out/early-r; echo r >>/out/asked-r"]}, periodSeconds: 1, timeoutSeconds: 10}}`,
			Script: "usleep 1500000; touch /out/up",
			Look: func(x *X) {
				x.Eventually("the probes to begin", func() string {
					if x.Count("asked-l") == 0 || x.Count("asked-r") == 0 {
						return "they do not"
					}
					return ""
				})
				x.Want("early liveness probe", x.Read("early-l")+x.Read("early-r"), "")
				if x.exists("early-l") || x.exists("early-r") {
					x.Errorf("a liveness or readiness probe ran before the startup probe had succeeded")
				}
			},
		},
		{
			Name: "readiness comes by HTTP to a port by name and stays", Fields: each(Both, "readinessProbe"),
			Container: "{ports: [{name: web, containerPort: 8080}], readinessProbe: {httpGet: {port: web, path: /index.html}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}}",
			Script:    "while ! test -e /out/go; do usleep 100000; done; " + web, Until: appRuns,
			Look: func(x *X) {
				if !x.Again && x.Status("app").Ready {
					x.Errorf("the container is ready although nothing listens")
				}
				x.Put("go", "")
				x.Eventually("readiness", func() string {
					if !x.Status("app").Ready {
						return "not ready"
					}
					return ""
				})
				x.steady()
			},
		},
		{
			Name: "readiness by TCP goes when the server goes", Fields: each(Both, "readinessProbe"),
			Container: "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}",
			Script:    web, Until: appRuns,
			Look: func(x *X) {
				ready := func(want bool) {
					x.Eventually(fmt.Sprintf("readiness %t", want), func() string { return differ(x.Status("app").Ready, want) })
				}
				ready(true)
				x.Exec("killall httpd")
				ready(false)
				x.Exec("httpd -p 8080 -h /www")
				ready(true)
			},
		},
		{
			Name: "readiness by gRPC asks the health service", Fields: each(Both, "readinessProbe"), Before: func(x *X) { x.serveGRPC("db") },
			Pod:       "hostNetwork: true",
			Container: "readinessProbe: {grpc: {port: @PORT@, service: db}, periodSeconds: 1, timeoutSeconds: 10}",
		},
		{
			Name: "an HTTP probe sends headers to the host it names", Fields: each(Both, "readinessProbe"), Before: func(x *X) { x.serve() },
			Container: "readinessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: '/p?q=1', httpHeaders: [{name: X-Why, value: a}, {name: X-Why, value: b}, {name: Host, value: web.test}, {name: User-Agent, value: mine}]}, periodSeconds: 1, timeoutSeconds: 10}",
			Look:      asked("GET /p?q=1 X-Why=a,b host=web.test agent=mine"),
		},
		{
			Name: "an HTTP probe says who it is", Fields: each(Both, "livenessProbe"), Before: func(x *X) { x.serve() },
			Container: "livenessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /plain}, periodSeconds: 1, timeoutSeconds: 10}",
			Look:      asked("GET /plain X-Why= host=127.0.0.1:@PORT@ agent=kube-probe/1."),
		},
		{
			Name: "an HTTPS probe trusts any certificate", Fields: each(Both, "readinessProbe"), Before: func(x *X) { x.serveTLS() },
			Container: "readinessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /secure, scheme: HTTPS}, periodSeconds: 1, timeoutSeconds: 10}",
			Look:      asked("GET /secure"),
		},
		{
			Name: "an HTTP probe follows redirects to its own host only", Fields: each(Both, "readinessProbe", "livenessProbe"), Before: func(x *X) { x.serve() },
			Container: `{readinessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /to/there}, periodSeconds: 1, timeoutSeconds: 10},
				livenessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /away}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}}`,
			Look: func(x *X) {
				asked("GET /to/there", "GET /there", "GET /away")(x)
				x.Want("restarts", x.Status("app").RestartCount, int32(0))
			},
		},
		{
			Name: "an annotation makes periods of less than a second", Fields: append(each(Both, "livenessProbe"), "metadata.annotations"), Before: func(x *X) { x.serve() },
			Meta:      "annotations: {agent.edgepod.dev/probe-period-ms: '100'}",
			Container: "livenessProbe: {httpGet: {host: 127.0.0.1, port: @PORT@, path: /often}, periodSeconds: 10}",
			Look: func(x *X) {
				before := strings.Count(x.asked(), "/often")
				time.Sleep(2 * time.Second)
				if n := strings.Count(x.asked(), "/often") - before; n < 12 || n > 22 {
					x.Errorf("%d probes in two seconds, want about 20", n)
				}
			},
		},
		{
			Name: "a command that takes too long leaves no process", Fields: each(Both, "livenessProbe"),
			Container: `livenessProbe: {exec: {command: [sh, -c, "echo try >>/out/tries; setsid sleep 4242 & sleep 4243"]}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1000}`,
			Look: func(x *X) {
				seen := x.Count("tries")
				x.Eventually("three more tries", func() string {
					if x.Count("tries") < seen+3 {
						return fmt.Sprint(x.Count("tries"))
					}
					return ""
				})
				// One try may be under way.
				x.Eventually("the processes of earlier tries to be gone", func() string {
					if left := x.processes("424"); len(left) > 3 {
						return fmt.Sprintf("%d processes of probes are left: %q", len(left), left)
					}
					return ""
				})
			},
		},
	}
}

// steady looks whether readiness holds for a while; after a restart of the agent it has to be what it was, since when it was.
func (x *X) steady() {
	since := func(p *v1.Pod) string {
		for _, c := range p.Status.Conditions {
			if c.Type == v1.PodReady {
				return string(c.Status) + " since " + c.LastTransitionTime.UTC().String()
			}
		}
		return "none"
	}
	if x.Again {
		x.Want("the condition Ready", since(x.Pod()), since(x.First))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		if !x.Status("app").Ready {
			x.Fatalf("readiness flaps")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
