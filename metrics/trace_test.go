package metrics

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestThePodsStartIsATrace reaches an OTLP receiver with the parts of the start and how long each took.
func TestThePodsStartIsATrace(t *testing.T) {
	received := make(chan *collector.ExportTraceServiceRequest, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(b, &m)
		}
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/v1/traces" {
			t.Errorf("spans are sent to %s", r.URL.Path)
		}
		received <- &m
	}))
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	ctx := context.Background()
	tracer, err := NewTracer(ctx, server.URL, "node-1", "v1")
	if err != nil {
		t.Fatal(err)
	}
	t0 := time.Unix(1_800_000_000, 0)
	at := func(s int) metav1.Time { return metav1.NewTime(t0.Add(time.Duration(s) * time.Second)) }
	p := testPod("u", hexID(1))
	start := at(1)
	p.Status.StartTime = &start
	p.Status.Conditions = []v1.PodCondition{{Type: v1.PodReadyToStartContainers, Status: v1.ConditionTrue, LastTransitionTime: at(3)}}
	p.Status.InitContainerStatuses = []v1.ContainerStatus{{Name: "setup", State: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{StartedAt: at(4), FinishedAt: at(9)}}}}
	p.Status.ContainerStatuses[0].State.Running.StartedAt = at(12)
	f := follower{recorder: NewRecorder(), tracer: tracer, since: t0, pods: map[string]*followed{}}
	f.look(at(13).Time, []Pod{p})
	f.look(at(14).Time, []Pod{p})
	if err := tracer.Close(ctx); err != nil {
		t.Fatal(err)
	}
	close(received)

	have := map[string]time.Duration{}
	for m := range received {
		for _, r := range m.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, span := range s.Spans {
					if _, twice := have[span.Name]; twice {
						t.Errorf("%q was sent twice", span.Name)
					}
					have[span.Name] = time.Duration(span.EndTimeUnixNano - span.StartTimeUnixNano)
				}
			}
		}
	}
	want := map[string]time.Duration{
		"pod start": 11 * time.Second, "sandbox": 2 * time.Second, "init container setup": 5 * time.Second, "container main": 3 * time.Second,
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}
