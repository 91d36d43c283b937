package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestAProbeOfAPodIsResolved(t *testing.T) {
	host, port := serve(t, func(c net.Conn) {
		buf := make([]byte, 4<<10)
		n, _ := c.Read(buf)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 399 \r\n\r\n%s", buf[:n])
	})
	var dialled, ran []string
	place := Place{
		PodIP: "10.88.0.9",
		Ports: []v1.ContainerPort{{Name: "web", ContainerPort: 8080}, {Name: "dns", ContainerPort: 53}},
		Exec: func(_ context.Context, command []string) (int, []byte, error) {
			ran = append(ran, strings.Join(command, "|"))
			return 0, nil, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("%s:%d", host, port))
		},
		Expand: func(s string) string { return strings.ReplaceAll(s, "$(A)", "b c") },
	}
	service := "db"
	for _, tt := range []struct {
		name    string
		handler v1.ProbeHandler
		outcome Outcome
		message string // contains
		dialled []string
		ran     []string
	}{
		{
			"a port by name, at the pod's address",
			v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromString("web")}},
			Success, "",
			[]string{"10.88.0.9:8080"},
			nil,
		},
		{
			"a host of its own",
			v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(99), Host: "db.example"}},
			Success, "",
			[]string{"db.example:99"},
			nil,
		},
		{
			"a port name that no container port has cannot be asked",
			v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromString("wbe")}},
			Unknown, `port "wbe" not found`, nil, nil,
		},
		{
			"a port out of range cannot be asked",
			v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromInt32(65536)}},
			Unknown, "invalid port number: 65536", nil, nil,
		},
		{
			"httpGet with path, query, virtual host and repeated headers",
			v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{
				Port: intstr.FromString("web"), Path: "/a b?c=d", Scheme: v1.URISchemeHTTP,
				HTTPHeaders: []v1.HTTPHeader{{Name: "host", Value: "v.example"}, {Name: "x-a", Value: "1"}, {Name: "X-A", Value: "2"}},
			}},
			Warning, "GET /a%20b?c=d HTTP/1.1\r\nHost: v.example\r\nUser-Agent: kube-probe/1.37\r\nConnection: close\r\nAccept: */*\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
			[]string{"10.88.0.9:8080"},
			nil,
		},
		{
			"grpc",
			v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: 9000, Service: &service}},
			Failure, "error: health rpc probe failed: ",
			[]string{"10.88.0.9:9000"},
			nil,
		},
		{
			"exec, with the environment filled in",
			v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"test", "$(A)"}}},
			Success, "", nil,
			[]string{"test|b c"},
		},
		{"no handler", v1.ProbeHandler{}, Unknown, "missing probe handler", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dialled, ran = nil, nil
			got, _ := within(t, 2*time.Second, FromV1(&v1.Probe{ProbeHandler: tt.handler}, Liveness, place).Try)
			if got.Outcome != tt.outcome || !strings.Contains(got.Message, tt.message) {
				t.Errorf("got %+v", got)
			}
			if diff := cmp.Diff(tt.dialled, dialled); diff != "" {
				t.Errorf("dialled: %s", diff)
			}
			if diff := cmp.Diff(tt.ran, ran); diff != "" {
				t.Errorf("ran: %s", diff)
			}
		})
	}
}

func TestAPodWithoutAnAddressIsNotLookedForOnTheNode(t *testing.T) {
	_, port := serve(t, func(c net.Conn) { _, _ = fmt.Fprint(c, "HTTP/1.1 200 \r\n\r\n") })
	number := intstr.FromInt32(int32(port))
	for name, handler := range map[string]v1.ProbeHandler{
		"tcpSocket": {TCPSocket: &v1.TCPSocketAction{Port: number}},
		"httpGet":   {HTTPGet: &v1.HTTPGetAction{Port: number}},
		"grpc":      {GRPC: &v1.GRPCAction{Port: number.IntVal}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := within(t, 2*time.Second, FromV1(&v1.Probe{ProbeHandler: handler}, Liveness, Place{}).Try)
			if want := (Result{Unknown, "the pod has no address"}); got != want {
				t.Errorf("got %+v", got)
			}
		})
	}
	if err := Handle(t.Context(), &v1.LifecycleHandler{HTTPGet: &v1.HTTPGetAction{Port: number}}, Place{}); err == nil {
		t.Error("a hook found the pod")
	}
}

func TestTheScheduleOfAPodsProbe(t *testing.T) {
	if FromV1(nil, Liveness, Place{}) != nil {
		t.Error("a probe came of nothing")
	}
	for _, tt := range []struct {
		name     string
		probe    v1.Probe
		override time.Duration
		want     Spec
	}{
		{
			"as written",
			v1.Probe{InitialDelaySeconds: 1, PeriodSeconds: 2, TimeoutSeconds: 3, SuccessThreshold: 4, FailureThreshold: 5},
			0,
			Spec{Readiness, time.Second, 2 * time.Second, 3 * time.Second, 4, 5},
		},
		{"defaults", v1.Probe{}, 0, Spec{Readiness, 0, 10 * time.Second, time.Second, 1, 3}},
		{"a period by annotation", v1.Probe{PeriodSeconds: 2}, 250 * time.Millisecond, Spec{Readiness, 0, 250 * time.Millisecond, time.Second, 1, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, FromV1(&tt.probe, Readiness, Place{Period: tt.override}).Spec); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestThePeriodAnnotation(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"250": 250 * time.Millisecond, "10": 10 * time.Millisecond, "3600000": time.Hour,
		"": -1, "9": -1, "0": -1, "-5": -1, "250ms": -1, "1e3": -1, "3600001": -1, "99999999999999999999": -1,
	} {
		got, err := PeriodOverride(map[string]string{PeriodAnnotation: value})
		if want < 0 && (err == nil || !strings.Contains(err.Error(), PeriodAnnotation)) || want >= 0 && (err != nil || got != want) {
			t.Errorf("%q: %s, %v", value, got, err)
		}
	}
	if got, err := PeriodOverride(nil); got != 0 || err != nil {
		t.Errorf("without it: %s, %v", got, err)
	}
}

func TestHandlersOfALifecycle(t *testing.T) {
	var got *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer s.Close()
	secure := httptest.NewTLSServer(s.Config.Handler)
	defer secure.Close()
	host, port := hostPort(t, s.URL)
	_, securePort := hostPort(t, secure.URL)
	place := Place{PodIP: host, Exec: func(ctx context.Context, command []string) (int, []byte, error) {
		if command[0] == "hang" {
			<-ctx.Done()
			return 0, nil, ctx.Err()
		}
		return len(command) - 1, []byte("output"), nil
	}}
	get := func(port int, scheme v1.URIScheme) *v1.LifecycleHandler {
		return &v1.LifecycleHandler{HTTPGet: &v1.HTTPGetAction{
			Port: intstr.FromInt(port), Scheme: scheme, Path: "/stop",
			HTTPHeaders: []v1.HTTPHeader{{Name: "Authorization", Value: "token"}},
		}}
	}
	for _, tt := range []struct {
		name    string
		handler *v1.LifecycleHandler
		err     string
		auth    string // the Authorization the server saw
	}{
		{"a command that exits with 0", &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}, "", ""},
		{"a command that exits with 1", &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"a", "b"}}}, `command "a b" exited with 1: output`, ""},
		{"a command that outlives the grace period", &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"hang"}}}, `running "hang": context deadline exceeded`, ""},
		{"a request, whatever is answered", get(port, "HTTP"), "", "token"},
		{"a request over TLS", get(securePort, "HTTPS"), "", "token"},
		{"a request over TLS to a plain server falls back, without credentials", get(port, "HTTPS"), "", ""},
		{"a request to nobody", get(serveNothing(t), "HTTP"), "connection refused", ""},
		{"a request to a port that is not there", &v1.LifecycleHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromString("x")}}, `port "x" not found`, ""},
		{"a sleep of nothing", &v1.LifecycleHandler{Sleep: &v1.SleepAction{}}, "", ""},
		{"a sleep that outlives the grace period", &v1.LifecycleHandler{Sleep: &v1.SleepAction{Seconds: 60}}, "container terminated before sleep hook finished", ""},
		{"tcpSocket is no handler", &v1.LifecycleHandler{TCPSocket: &v1.TCPSocketAction{}}, "invalid handler", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got = nil
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			err := Handle(ctx, tt.handler, place)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("err = %v, want %q", err, tt.err)
			}
			if tt.handler.HTTPGet != nil && tt.err == "" && (got == nil || got.URL.Path != "/stop" || got.UserAgent() != "kube-lifecycle/1.37" || got.Header.Get("Authorization") != tt.auth) {
				t.Errorf("the server saw %+v", got)
			}
		})
	}
}
