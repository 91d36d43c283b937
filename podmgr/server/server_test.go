package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server on a real board and real logs, with scripted images.
type fixture struct {
	*Server
	board  *podmgr.Board
	hub    *logs.Hub
	images *fakeImages
	url    string
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{board: podmgr.NewBoard(), hub: logs.NewHub(t.TempDir()), images: &fakeImages{}}
	f.Server = New(Config{
		Board: f.board, Images: f.images, Logs: f.hub, NodeName: "node-1", Log: zerolog.Nop(),
		Version: func(context.Context) Version { return Version{Agent: "v0.1.0", Containerd: "v2.4.2"} },
		Healthy: func(context.Context) error { return nil },
	})
	ts := httptest.NewServer(f.Server)
	t.Cleanup(func() { ts.CloseClientConnections(); ts.Close() })
	f.url = ts.URL
	return f
}

func entry(namespace, name string, uid types.UID, change func(*v1.Pod, *podmgr.Entry)) *podmgr.Entry {
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uid},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "app", Image: "nginx"}}},
	}
	e := &podmgr.Entry{
		Pod:    &manifests.Pod{Object: p, Origin: manifests.Origin{File: "/etc/agent/manifests/" + name + ".yaml", Document: 1, Line: 1}},
		Key:    manifests.Key{Namespace: namespace, Name: name},
		Source: "dir:/etc/agent/manifests",
	}
	if change != nil {
		change(p, e)
	}
	return e
}

// running makes the container run its attempt n.
func running(n int32) func(*v1.Pod, *podmgr.Entry) {
	return func(_ *v1.Pod, e *podmgr.Entry) {
		e.Status.Phase = v1.PodRunning
		e.Status.ContainerStatuses = []v1.ContainerStatus{{
			Name: "app", Image: "nginx", ContainerID: "containerd://new", RestartCount: n,
			State: v1.ContainerState{Running: &v1.ContainerStateRunning{}},
		}}
		if n > 0 {
			e.Status.ContainerStatuses[0].LastTerminationState.Terminated = &v1.ContainerStateTerminated{ContainerID: "containerd://old"}
		}
	}
}

// do sends a request and returns status and body.
func (f *fixture) do(t *testing.T, method, path string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestPodsAreServedWithStatusAndOrigin(t *testing.T) {
	f := newFixture(t)
	started := metav1.NewTime(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
	e := entry("default", "web", "u1", running(0))
	e.Status.StartTime = &started
	f.board.Post(e)
	f.board.Post(&podmgr.Entry{Key: manifests.Key{Namespace: "old", Name: "gone"}, Deleted: started.Time})
	code, body := f.do(t, "GET", "/pods", nil)
	var list v1.PodList
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if list.Kind != "PodList" || list.APIVersion != "v1" || len(list.Items) != 2 {
		t.Fatalf("got %+v", list)
	}
	web, gone := list.Items[0], list.Items[1]
	want := map[string]string{SourceAnnotation: "dir:/etc/agent/manifests", FileAnnotation: "/etc/agent/manifests/web.yaml:1"}
	if d := cmp.Diff(want, web.Annotations); d != "" {
		t.Error(d)
	}
	if web.Status.Phase != v1.PodRunning || !web.CreationTimestamp.Equal(&started) || web.Kind != "Pod" {
		t.Errorf("got %+v", web)
	}
	if gone.Name != "gone" || gone.DeletionTimestamp == nil {
		t.Errorf("got %+v", gone)
	}
	if e.Pod.Object.Annotations != nil || e.Pod.Object.Kind != "" {
		t.Error("serving wrote to the pod of the board")
	}
	_, body = f.do(t, "GET", "/runningpods/", nil)
	if !strings.Contains(body, `"web"`) || strings.Contains(body, `"gone"`) {
		t.Errorf("running pods: %s", body)
	}
}

func TestErrorsAreKubernetesStatuses(t *testing.T) {
	f := newFixture(t)
	waiting := entry("default", "waiting", "u1", func(_ *v1.Pod, e *podmgr.Entry) {
		e.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "app", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ErrImagePull"}}}}
	})
	f.board.Post(waiting)
	f.board.Post(entry("default", "web", "u2", running(0)))
	f.images.err = podmgr.ErrNoImage
	for _, c := range []struct {
		name, method, path string
		code               int
		reason             metav1.StatusReason
		message            string
	}{
		{"a path that does not exist", "GET", "/nothing", 404, metav1.StatusReasonNotFound, "GET /nothing: Not Found"},
		{"a method that a path does not have", "PUT", "/pods", 405, metav1.StatusReasonMethodNotAllowed, "PUT /pods: Method Not Allowed"},
		{"a pod that does not exist", "GET", "/containerLogs/default/x/app", 404, metav1.StatusReasonNotFound, `pod "x" not found in namespace "default"`},
		{"a container that does not exist", "GET", "/containerLogs/default/web/x", 404, metav1.StatusReasonNotFound, "container x is not valid for pod web"},
		{"a container that waits", "GET", "/containerLogs/default/waiting/app", 400, metav1.StatusReasonBadRequest, `container "app" in pod "waiting" is waiting to start: ErrImagePull`},
		{"no previous instance", "GET", "/containerLogs/default/web/app?previous", 400, metav1.StatusReasonBadRequest, `previous terminated container "app" in pod "web" not found`},
		{"a log that is gone", "GET", "/containerLogs/default/web/app", 404, metav1.StatusReasonNotFound, `container "app" in pod "web" has no log of attempt 0`},
		{"a tail that is no number", "GET", "/containerLogs/default/web/app?tailLines=-1", 400, metav1.StatusReasonBadRequest, `tailLines: "-1" is not a number of at least 0`},
		{"two sinces", "GET", "/containerLogs/default/web/app?sinceSeconds=1&sinceTime=2025-01-01T00:00:00Z", 400, metav1.StatusReasonBadRequest, "at most one of sinceTime or sinceSeconds may be specified"},
		{"a watch of maybe", "GET", "/pods?watch=maybe", 400, metav1.StatusReasonBadRequest, `watch: "maybe" is neither true nor false`},
		{"events of a name in no namespace", "GET", "/events?name=web", 400, metav1.StatusReasonBadRequest, "name is given without a namespace"},
		{"a pull of nothing", "POST", "/images/pull", 400, metav1.StatusReasonBadRequest, "ref is missing"},
		{"removing what a pod names by another name", "DELETE", "/images?ref=docker.io/library/nginx:latest", 409, metav1.StatusReasonConflict, `image "docker.io/library/nginx:latest" is used by pod default/waiting: remove its manifest first, or use force`},
		{"removing what a pod names by its ID", "DELETE", "/images?ref=sha256:1", 409, metav1.StatusReasonConflict, `image "sha256:1" is used by pod default/waiting: remove its manifest first, or use force`},
		{"removing what is not here", "DELETE", "/images?ref=busybox", 404, metav1.StatusReasonNotFound, "no such image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body := f.do(t, c.method, c.path, nil)
			var got metav1.Status
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			want := metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
				Status:   metav1.StatusFailure, Reason: c.reason, Code: int32(c.code), Message: c.message,
			}
			if d := cmp.Diff(want, got); d != "" || code != c.code {
				t.Errorf("code %d: %s", code, d)
			}
		})
	}
}

func TestWatchingSendsEachChange(t *testing.T) {
	f := newFixture(t)
	f.board.Post(entry("default", "a", "u1", nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/pods?watch=true", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	next := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the watch ended: %v", lines.Err())
		}
		var e struct {
			Type   string
			Object v1.Pod
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return e.Type + " " + e.Object.Name + " " + string(e.Object.Status.Phase)
	}
	got := []string{next()}
	f.board.Record(podmgr.Event{Reason: "Unrelated"})
	f.board.Post(entry("default", "b", "u2", nil))
	got = append(got, next())
	f.board.Post(entry("default", "a", "u1", running(0)))
	got = append(got, next())
	f.board.Drop(manifests.Key{Namespace: "default", Name: "b"})
	got = append(got, next())
	if d := cmp.Diff([]string{"ADDED a ", "ADDED b ", "MODIFIED a Running", "DELETED b "}, got); d != "" {
		t.Error(d)
	}
}

func TestEventsAreKubernetesEvents(t *testing.T) {
	f := newFixture(t)
	f.board.Post(entry("default", "web", "u1", nil))
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	k := manifests.Key{Namespace: "default", Name: "web"}
	f.board.Record(podmgr.Event{Pod: k, Container: "app", Type: "Warning", Reason: "BackOff", Message: "again", Count: 2, First: at, Last: at.Add(time.Minute)})
	f.board.Record(podmgr.Event{Pod: manifests.Key{Namespace: "other", Name: "web"}, Type: "Normal", Reason: "Started"})
	for path, want := range map[string]int{"/events": 2, "/events?namespace=default": 1, "/events?namespace=default&name=web": 1, "/events?namespace=default&name=x": 0} {
		_, body := f.do(t, "GET", path, nil)
		var list v1.EventList
		if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != want {
			t.Errorf("%s: %d events of %d: %v", path, len(list.Items), want, err)
		}
		if path != "/events?namespace=default" || len(list.Items) != 1 {
			continue
		}
		e := list.Items[0]
		if e.InvolvedObject.UID != "u1" || e.InvolvedObject.FieldPath != "spec.containers{app}" || e.Count != 2 ||
			!e.LastTimestamp.Equal(new(metav1.NewTime(at.Add(time.Minute)))) || e.Source.Host != "node-1" {
			t.Errorf("got %+v", e)
		}
	}
}

func TestLogsAreOfTheRightInstance(t *testing.T) {
	f := newFixture(t)
	for attempt, text := range []string{"first\n", "second\n", "third\n"} {
		w, err := logs.NewWriter(f.hub.File("default", "web", "u1", "app", attempt), logs.Options{Hub: f.hub})
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Copy(t.Context(), logs.Stdout, strings.NewReader(text))
		_ = w.Close()
	}
	crashed := func(_ *v1.Pod, e *podmgr.Entry) {
		running(2)(nil, e)
		c := &e.Status.ContainerStatuses[0]
		c.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		c.LastTerminationState.Terminated.ContainerID = c.ContainerID
	}
	for _, c := range []struct {
		name   string
		status func(*v1.Pod, *podmgr.Entry)
		query  string
		want   string
	}{
		{"of the one that runs", running(2), "", "third\n"},
		{"of the one before it", running(2), "?previous=true", "second\n"},
		{"of the one that crashed while the next is waited for", crashed, "", "third\n"},
		{"and so for the previous one, as with the kubelet", crashed, "?previous=true", "third\n"},
		{"following ends when the container has ended", crashed, "?follow=true", "third\n"},
		{"a limit", running(2), "?limitBytes=2", "th"},
		{"nothing since now", running(2), "?sinceTime=2100-01-01T00:00:00Z", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.board.Post(entry("default", "web", "u1", c.status))
			code, body := f.do(t, "GET", "/containerLogs/default/web/app"+c.query, nil)
			if code != 200 || body != c.want {
				t.Errorf("%d %q, want %q", code, body, c.want)
			}
		})
	}
}

// fakeImages is scripted: Pull and Import report what they were told and Remove remembers.
type fakeImages struct {
	err     error
	removed string
	pinned  string
	byHand  bool
}

var nginx = podmgr.Image{Names: []string{"docker.io/library/nginx:latest"}, ID: "sha256:1", Size: 3}

func (f *fakeImages) List(context.Context) ([]podmgr.Image, error) {
	i := nginx
	i.ByHand = f.byHand
	return []podmgr.Image{i}, nil
}

func (f *fakeImages) Pull(_ context.Context, ref string, progress func(podmgr.Progress)) (podmgr.Image, error) {
	progress(podmgr.Progress{Ref: ref, Status: "downloading", Done: 1, Total: 2})
	progress(podmgr.Progress{Ref: ref, Status: "downloading", Done: 1, Total: 2}) // too soon to be shown
	progress(podmgr.Progress{Ref: ref, Status: "downloading", Done: 2, Total: 2})
	return nginx, f.err
}

func (f *fakeImages) Import(_ context.Context, r io.Reader, progress func(podmgr.Progress)) ([]podmgr.Image, error) {
	n, err := io.Copy(io.Discard, r)
	progress(podmgr.Progress{Ref: "archive", Status: "read", Done: n})
	return []podmgr.Image{nginx}, err
}

func (f *fakeImages) Pin(_ context.Context, ref string, pinned bool) error {
	f.pinned = fmt.Sprint(ref, " ", pinned)
	return f.err
}

func (f *fakeImages) Remove(_ context.Context, ref string) error { f.removed = ref; return f.err }

func TestPullingAndImportingReportProgress(t *testing.T) {
	f := newFixture(t)
	image := `{"images":[{"names":["docker.io/library/nginx:latest"],"id":"sha256:1","digest":"","size":3,"created":"0001-01-01T00:00:00Z","pinned":false}]}` + "\n"
	_, body := f.do(t, "POST", "/images/pull?ref=nginx", nil)
	want := `{"progress":{"ref":"nginx","status":"downloading","done":1,"total":2}}` + "\n" +
		`{"progress":{"ref":"nginx","status":"downloading","done":2,"total":2}}` + "\n" + image
	if d := cmp.Diff(want, body); d != "" {
		t.Error(d)
	}
	// More than the cap on other bodies.
	_, body = f.do(t, "POST", "/images/import", bytes.NewReader(make([]byte, 1<<20)))
	if d := cmp.Diff(`{"progress":{"ref":"archive","status":"read","done":1048576,"total":0}}`+"\n"+image, body); d != "" {
		t.Error(d)
	}
	f.images.err = errors.New("no route to host")
	_, body = f.do(t, "POST", "/images/pull?ref=nginx", nil)
	if !strings.HasSuffix(body, `{"error":"no route to host"}`+"\n") {
		t.Errorf("got %s", body)
	}
}

func TestForceRemovesAnImageThatIsNamed(t *testing.T) {
	f := newFixture(t)
	f.board.Post(entry("default", "web", "u1", nil))
	if code, body := f.do(t, "DELETE", "/images?ref=nginx&force=true", nil); code != http.StatusNoContent || f.images.removed != "nginx" {
		t.Errorf("%d %s, removed %q", code, body, f.images.removed)
	}
}

func TestTheSocketIsPrivateAndReplacesOnlyADeadOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "agent.sock")
	dead, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("a socket that nobody answers on: %v", err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a socket in use: %v", err)
	}
	_ = l.Close()
	file := filepath.Join(t.TempDir(), "file")
	_ = os.WriteFile(file, []byte("precious"), 0o600)
	if _, err := Listen(file); err == nil {
		t.Error("a file was replaced")
	}
}

func TestRunEndsOpenWatchesWhenTheAgentEnds(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, l) }()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET /pods?watch=true HTTP/1.1\r\nHost: agent\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, "200") {
		t.Fatalf("%q %v", line, err)
	}
	began := time.Now()
	cancel()
	if err := <-done; err != nil || time.Since(began) > goodbye/2 {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
