package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// spans is an OpenTelemetry collector.
type spans struct {
	url string

	mu  sync.Mutex // guards the rest
	all []*trace.Span
	of  map[string]string // attributes of who sent them
}

func collect(t *testing.T) *spans {
	t.Helper()
	c := &spans{of: map[string]string{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(b, &m)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s %s is no OTLP: %v", r.Method, r.URL.Path, err)
			http.Error(w, "no OTLP", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range m.ResourceSpans {
			for k, v := range attributes(r.Resource.Attributes) {
				c.of[k] = v
			}
			for _, s := range r.ScopeSpans {
				c.all = append(c.all, s.Spans...)
			}
		}
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

func attributes(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		out[a.Key] = a.Value.GetStringValue()
	}
	return out
}

// start is the trace of a pod's start: its spans by name, and the name of each one's parent.
func (c *spans) start(pod string) (byName map[string]*trace.Span, tree []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byName, names := map[string]*trace.Span{}, map[string]string{}
	for _, root := range c.all {
		if root.Name != "pod start" || attributes(root.Attributes)["k8s.pod.name"] != pod {
			continue
		}
		for _, s := range c.all {
			if string(s.TraceId) == string(root.TraceId) {
				names[string(s.SpanId)] = s.Name
			}
		}
		for _, s := range c.all {
			if string(s.TraceId) == string(root.TraceId) {
				byName[s.Name] = s
				tree = append(tree, names[string(s.ParentSpanId)]+" > "+s.Name)
			}
		}
	}
	slices.Sort(tree)
	return byName, tree
}

// TestThePodsStartIsTracedAndItsPullMeasured: the agent is given a collector; a pod's image comes from a registry.
func TestThePodsStartIsTracedAndItsPullMeasured(t *testing.T) {
	c := collect(t)
	n := embeddedOnly(t, "--otlp-endpoint", c.url)
	r := serve(t, n, "mirrored.test")
	ref := r.push(t, "traced:1", "one")
	n.Start()
	began := time.Now()
	p := pulled("traced", ref, v1.PullIfNotPresent)
	setup := node.Pod("x", "sleep 0.3").Spec.Containers[0]
	setup.Name = "setup"
	p.Spec.InitContainers = []v1.Container{setup}
	n.Apply(p)
	n.WaitRunning("traced")
	ended := time.Now()

	want := []string{" > pod start", "pod start > container app", "pod start > init container setup", "pod start > sandbox"}
	n.Within(30*time.Second, "the collector to have the trace", func() string {
		if _, tree := c.start("traced"); !slices.Equal(tree, want) {
			return fmt.Sprintf("it has %q", tree)
		}
		return ""
	})
	byName, _ := c.start("traced")
	for name, s := range byName {
		from, to := time.Unix(0, int64(s.StartTimeUnixNano)), time.Unix(0, int64(s.EndTimeUnixNano))
		if from.Before(began) || to.Before(from) || to.After(ended) {
			t.Errorf("%s took from %v to %v, the pod started between %v and %v", name, from, to, began, ended)
		}
		if root := byName["pod start"]; s.StartTimeUnixNano < root.StartTimeUnixNano || s.EndTimeUnixNano > root.EndTimeUnixNano {
			t.Errorf("%s is not within the pod's start", name)
		}
	}
	if s := byName["init container setup"]; time.Duration(s.EndTimeUnixNano-s.StartTimeUnixNano) < 300*time.Millisecond {
		t.Error("the init container slept for 300 ms, and its span is shorter")
	}
	if byName["container app"].StartTimeUnixNano < byName["init container setup"].EndTimeUnixNano {
		t.Error("the container's span begins before the end of the init container")
	}
	uid := string(n.Pod("traced").UID)
	if a := attributes(byName["pod start"].Attributes); a["k8s.pod.uid"] != uid || a["k8s.namespace.name"] != "default" {
		t.Errorf("the pod's span has %v", a)
	}
	if a := attributes(byName["container app"].Attributes); a["k8s.container.name"] != "app" || !strings.Contains(a["container.image.name"], "traced") {
		t.Errorf("the container's span has %v", a)
	}
	c.mu.Lock()
	if c.of["service.name"] != "agent" || c.of["k8s.node.name"] != "e2e" {
		t.Errorf("the spans are of %v", c.of)
	}
	c.mu.Unlock()
	pullsMeasured(t, n, r, ended.Sub(began))
}

// pullsMeasured: one image was pulled, in less time than most; an image that is nowhere is an error and no pull.
func pullsMeasured(t *testing.T, n *node.Node, r *repository, most time.Duration) {
	t.Helper()
	n.Apply(pulled("absent", r.host+"/absent:1", ""))
	waiting(n, "absent", "ErrImagePull", "ImagePullBackOff")
	families := scrape(t, n, "/metrics")
	const metric = "kubelet_image_pull_duration_seconds"
	if v := value(families, metric, "image_size_in_bytes=0-10MB"); v != 1 {
		t.Errorf("%v pulls of a small image were measured, want 1: %v", v, families[metric])
	}
	for _, m := range families[metric].GetMetric() {
		if sum := m.GetHistogram().GetSampleSum(); sum <= 0 || sum > most.Seconds() {
			t.Errorf("the pull is measured with %v s, the pod started within %v", sum, most)
		}
	}
	if v := value(families, "kubelet_runtime_operations_errors_total", "operation_type=pull_image"); !(v >= 1) {
		t.Errorf("%v failed pulls were counted, want at least 1", v)
	}
}
