package ctl

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/logs"
	"edgepod.dev/agent/podmgr/server"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	time.Local = time.UTC // golden files hold local times
	goleak.VerifyTestMain(m)
}

// noon is when all commands of the tests run.
var noon = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-d)) }

// node is an agent's server on a unix socket, on a real board and real logs.
type node struct {
	*Client
	board  *podmgr.Board
	hub    *logs.Hub
	images *fakeImages
	*box
}

func newNode(t testing.TB) *node {
	n := &node{board: podmgr.NewBoard(), hub: logs.NewHub(t.TempDir()), images: &fakeImages{}, box: newBox(t)}
	s := server.New(server.Config{
		Containers: n.box, Restart: n.restart, Configz: n.configz,
		Board: n.board, Images: n.images, Logs: n.hub, NodeName: "node-1", Log: zerolog.Nop(),
		Version: func(context.Context) server.Version {
			return server.Version{Agent: "v0.1.0", Containerd: "v2.4.2", Runtime: "runc 1.1.5"}
		},
		Healthy: func(context.Context) error { return nil },
		Node: func(context.Context) (*v1.Node, error) {
			node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", CreationTimestamp: ago(3 * time.Hour)}}
			node.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
			node.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: "192.0.2.1"}}
			node.Status.NodeInfo = v1.NodeSystemInfo{KubeletVersion: "v0.1.0", OSImage: "Debian", KernelVersion: "6.1", ContainerRuntimeVersion: "containerd://2.4.2"}
			return node, nil
		},
	})
	none := http.NotFoundHandler()
	s.HandleNumbers(server.Numbers{Agent: none, Cadvisor: none, Resource: none, Probes: none, Summary: http.HandlerFunc(n.stats)})
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := server.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	n.Client = NewClient(socket)
	n.now = func() time.Time { return noon }
	return n
}

// run is what a command prints, and its error.
func run(command func(s Streams) error) (out, errOut string, err error) {
	var o, e bytes.Buffer
	err = command(Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return o.String(), e.String(), err
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: %s", name, d)
	}
}

func post(n *node, namespace, name string, change func(*v1.Pod, *podmgr.Entry)) {
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "u1", Labels: map[string]string{"app": name}},
		Spec:       v1.PodSpec{NodeName: "node-1", Containers: []v1.Container{{Name: "app", Image: "nginx"}}},
	}
	started := ago(3 * time.Hour)
	e := &podmgr.Entry{
		Pod: &manifests.Pod{Object: p, Origin: manifests.Origin{File: "/m/" + name + ".yaml", Document: 1, Line: 1}},
		Key: manifests.Key{Namespace: namespace, Name: name}, Source: "dir:/m",
	}
	e.Status = v1.PodStatus{Phase: v1.PodRunning, StartTime: &started, PodIP: "10.88.0.2", PodIPs: []v1.PodIP{{IP: "10.88.0.2"}}}
	e.Status.ContainerStatuses = []v1.ContainerStatus{{
		Name: "app", Image: "nginx", ContainerID: "containerd://c1", Ready: true,
		State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: ago(time.Hour)}},
	}}
	if change != nil {
		change(p, e)
	}
	n.board.Post(e)
}

// crashing makes a pod crash for the second time, five minutes ago.
func crashing(_ *v1.Pod, e *podmgr.Entry) {
	c := &e.Status.ContainerStatuses[0]
	c.Ready, c.RestartCount = false, 2
	c.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 20s"}}
	c.LastTerminationState.Terminated = &v1.ContainerStateTerminated{
		ContainerID: "containerd://c1", ExitCode: 1, Reason: "Error", StartedAt: ago(6 * time.Minute), FinishedAt: ago(5 * time.Minute),
	}
}

// zoo is a node with a pod in each state.
func zoo(t *testing.T) *node {
	n := newNode(t)
	post(n, "default", "web", nil)
	post(n, "default", "crash", crashing)
	post(n, "default", "done", func(_ *v1.Pod, e *podmgr.Entry) {
		e.Status.Phase = v1.PodSucceeded
		e.Status.ContainerStatuses[0].Ready = false
		e.Status.ContainerStatuses[0].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{Reason: "Completed"}}
	})
	post(n, "default", "killed", func(_ *v1.Pod, e *podmgr.Entry) {
		e.Status.Phase = v1.PodFailed
		e.Status.ContainerStatuses[0].Ready = false
		e.Status.ContainerStatuses[0].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{Signal: 9, ExitCode: 137}}
	})
	post(n, "default", "going", func(_ *v1.Pod, e *podmgr.Entry) { e.Deleted = noon.Add(-5 * time.Second) })
	post(n, "default", "new", func(_ *v1.Pod, e *podmgr.Entry) { e.Status = v1.PodStatus{Phase: v1.PodPending} })
	post(n, "default", "pull", func(_ *v1.Pod, e *podmgr.Entry) {
		e.Status.ContainerStatuses[0].Ready = false
		e.Status.ContainerStatuses[0].State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ErrImagePull"}}
	})
	post(n, "edge", "sensor", nil)
	return n
}

func TestGetPodsLooksLikeKubectl(t *testing.T) {
	n := zoo(t)
	for _, c := range []struct {
		name string
		o    GetOptions
	}{
		{"pods.golden", GetOptions{}},
		{"pods-wide-all.golden", GetOptions{Output: "wide", AllNamespaces: true}},
		{"pods-selected.golden", GetOptions{Selector: "app in (web,done)", NoHeaders: true}},
		{"pods-name.golden", GetOptions{Output: "name"}},
		{"pod.json.golden", GetOptions{Output: "json", Names: []string{"web"}}},
		{"pods.yaml.golden", GetOptions{Output: "yaml", Namespace: "edge"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _, err := run(func(s Streams) error { return GetPods(t.Context(), n.Client, s, c.o) })
			if err != nil {
				t.Fatal(err)
			}
			golden(t, c.name, out)
		})
	}
}

func TestGetPodsWhenThereIsNothingOrSomethingIsWrong(t *testing.T) {
	n := newNode(t)
	post(n, "edge", "sensor", nil)
	n.board.SetProblems([]manifests.Problem{{Message: "one"}, {Message: "two"}})
	hint := "2 manifest problems: agent get problems\n"
	for _, c := range []struct {
		name   string
		o      GetOptions
		code   int
		stderr string
	}{
		{"pods elsewhere are hinted at", GetOptions{}, 0, "No resources found in default namespace.\n1 pod in other namespaces: agent get pods -A\n" + hint},
		{"nothing selected", GetOptions{AllNamespaces: true, Selector: "a=b"}, 0, "No resources found\n" + hint},
		{"a name that does not exist", GetOptions{Names: []string{"x"}}, ExitNotFound, ""},
		{"a name among several", GetOptions{Namespace: "edge", Names: []string{"x", "sensor"}}, ExitNotFound, hint},
		{"a bad selector", GetOptions{Selector: "a=(b"}, ExitUsage, ""},
		{"a bad output", GetOptions{Output: "xml"}, ExitUsage, ""},
		{"a name in all namespaces", GetOptions{AllNamespaces: true, Names: []string{"x"}}, ExitUsage, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stderr, err := run(func(s Streams) error { return GetPods(t.Context(), n.Client, s, c.o) })
			if ExitCode(err) != c.code || stderr != c.stderr {
				t.Errorf("exit %d (%v), stderr %q", ExitCode(err), err, stderr)
			}
		})
	}
}

func TestWatchingPodsPrintsEachChangeOnce(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- GetPods(ctx, n.Client, Streams{Out: w, Err: io.Discard}, GetOptions{Watch: true})
		_ = w.Close()
	}()
	got := ""
	buf := make([]byte, 4096)
	read := func() {
		k, _ := r.Read(buf)
		got += string(buf[:k])
	}
	read()
	n.board.Record(podmgr.Event{Reason: "Unrelated"})
	post(n, "default", "web", nil) // posted anew, and the same
	post(n, "default", "web", crashing)
	read()
	n.board.Drop(manifests.Key{Namespace: "default", Name: "web"})
	read()
	cancel()
	read()
	if err := <-done; err != nil {
		t.Error(err)
	}
	want := `NAME   READY   STATUS    RESTARTS   AGE
web    1/1     Running   0          3h
web    0/1     CrashLoopBackOff   2 (5m ago)   3h
web    0/1     CrashLoopBackOff   2 (5m ago)   3h
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNoAgentIsSaidSo(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	_, _, err := run(func(s Streams) error { return GetPods(t.Context(), NewClient(socket), s, GetOptions{}) })
	want := "cannot reach the agent at " + socket + `: is it running? start it with "systemctl start agent" or "agent run"`
	if ExitCode(err) != ExitUnreachable || err.Error() != want {
		t.Errorf("exit %d: %v", ExitCode(err), err)
	}
	out, _, err := run(func(s Streams) error {
		return PrintVersion(t.Context(), NewClient(socket), s, Version{Agent: "v0.1.0"}, "")
	})
	if ExitCode(err) != ExitUnreachable || out != "Client:   v0.1.0\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// Client and server agree on what goes over the wire: this does not compile when their types differ.
var (
	_ = Version(server.Version{})
	_ = Problem(server.Problem{})
)

func TestVersionOfBothSides(t *testing.T) {
	n := newNode(t)
	client := Version{Agent: "v0.1.1", Commit: "abc", Go: "go1.26", Platform: "linux/amd64"}
	out, _, err := run(func(s Streams) error { return PrintVersion(t.Context(), n.Client, s, client, "") })
	want := "Client:       v0.1.1 (abc) go1.26 linux/amd64\nServer:       v0.1.0\nContainerd:   v2.4.2\nRuntime:      runc 1.1.5\n"
	if d := cmp.Diff(want, out); d != "" || err != nil {
		t.Errorf("%v: %s", err, d)
	}
}

func TestProblemsAndEvents(t *testing.T) {
	n := newNode(t)
	if _, stderr, err := run(func(s Streams) error { return GetProblems(t.Context(), n.Client, s, GetOptions{}) }); err != nil || stderr != "No problems found\n" {
		t.Errorf("%q, %v", stderr, err)
	}
	n.board.SetProblems([]manifests.Problem{
		{Origin: manifests.Origin{File: "/m/a.yaml", Document: 1, Line: 7}, Field: "spec.containers[0].imag", Message: "unknown\nfield", Hint: "image?", Kept: true},
		{Origin: manifests.Origin{File: "/m/b.yaml"}, Message: "evil \x1b[2J"},
	})
	out, _, err := run(func(s Streams) error { return GetProblems(t.Context(), n.Client, s, GetOptions{}) })
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "problems.golden", out)

	record(n)
	out, _, err = run(func(s Streams) error { return GetEvents(t.Context(), n.Client, s, GetOptions{}) })
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "events.golden", out)
}

func record(n *node) {
	k := manifests.Key{Namespace: "default", Name: "web"}
	n.board.Record(podmgr.Event{Pod: k, Container: "app", Type: "Warning", Reason: "BackOff", Message: "Back-off restarting", Count: 3, First: noon.Add(-time.Hour), Last: noon.Add(-time.Minute)})
	n.board.Record(podmgr.Event{Pod: k, Container: "app", Type: "Normal", Reason: "Pulled", Message: "Image present", First: noon.Add(-2 * time.Hour), Last: noon.Add(-2 * time.Hour)})
	n.board.Record(podmgr.Event{Pod: manifests.Key{Namespace: "edge", Name: "web"}, Type: "Normal", Reason: "Elsewhere"})
}

func TestDescribePod(t *testing.T) {
	n := newNode(t)
	record(n)
	post(n, "default", "web", func(p *v1.Pod, e *podmgr.Entry) {
		crashing(p, e)
		p.Annotations = map[string]string{"note": "hello"}
		c := &p.Spec.Containers[0]
		c.Command, c.Args = []string{"sh", "-c"}, []string{"a\nb"}
		c.Ports = []v1.ContainerPort{{ContainerPort: 80, HostPort: 8080, Protocol: "TCP"}}
		c.Env = []v1.EnvVar{{Name: "A", Value: "b"}, {Name: "S", ValueFrom: &v1.EnvVarSource{}}}
		c.Resources.Limits = v1.ResourceList{"memory": resource.MustParse("64Mi"), "cpu": resource.MustParse("500m")}
		c.VolumeMounts = []v1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "host", MountPath: "/h", ReadOnly: true, SubPath: "x"}}
		p.Spec.Volumes = []v1.Volume{
			{Name: "data", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
			{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: "/srv"}}},
		}
		e.Status.HostIP, e.Status.QOSClass = "192.0.2.1", v1.PodQOSBurstable
		e.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionFalse, Reason: "ContainersNotReady"}}
	})
	n.board.SetProblems([]manifests.Problem{
		{Origin: manifests.Origin{File: "/m/web.yaml", Line: 9}, Pod: manifests.Key{Namespace: "default", Name: "web"}, Field: "spec.x", Message: "unknown field", Kept: true},
		{Origin: manifests.Origin{File: "/m/web.yaml"}, Message: "cannot be read", Kept: true},
		{Origin: manifests.Origin{File: "/m/web.yaml2"}, Message: "of another file"},
		{Origin: manifests.Origin{File: "/m/bad.yaml", Line: 3}, Pod: manifests.Key{Namespace: "default", Name: "bad"}, Message: "no containers"},
	})
	out, _, err := run(func(s Streams) error { return DescribePod(t.Context(), n.Client, s, "", "web") })
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "describe.golden", out)

	out, _, err = run(func(s Streams) error { return DescribePod(t.Context(), n.Client, s, "", "bad") })
	if ExitCode(err) != ExitNotFound {
		t.Errorf("exit %d: %v", ExitCode(err), err)
	}
	golden(t, "describe-bad.golden", out)
}

// fakeImages is scripted.
type fakeImages struct {
	err    error
	pinned []string
}

func (f *fakeImages) List(context.Context) ([]podmgr.Image, error) {
	return []podmgr.Image{
		{Names: []string{"docker.io/library/nginx:latest", "example.org/n:1"}, ID: "sha256:0123456789abcdef", Size: 67_400_000, Created: noon.Add(-48 * time.Hour), Pinned: true},
		{ID: "sha256:ff", Size: 812},
	}, nil
}

func (f *fakeImages) Pull(_ context.Context, ref string, progress func(podmgr.Progress)) (podmgr.Image, error) {
	for _, s := range []string{"resolving", "downloading", "downloading", "done"} {
		progress(podmgr.Progress{Ref: ref, Status: s})
	}
	return podmgr.Image{Names: []string{ref}}, f.err
}

func (f *fakeImages) Import(_ context.Context, r io.Reader, _ func(podmgr.Progress)) ([]podmgr.Image, error) {
	if f.err != nil {
		return nil, f.err // without reading the archive
	}
	b, err := io.ReadAll(r)
	return []podmgr.Image{{Names: []string{string(b)}}}, err
}

func (f *fakeImages) Pin(_ context.Context, ref string, pinned bool) error {
	if ref == "gone" {
		return podmgr.ErrNoImage
	}
	f.pinned = append(f.pinned, fmt.Sprint(ref, " ", pinned))
	return nil
}

func (f *fakeImages) Remove(_ context.Context, ref string) error {
	if ref != "example.org/n:1" {
		return podmgr.ErrNoImage
	}
	return nil
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestImages(t *testing.T) {
	n := newNode(t)
	out, _, err := run(func(s Streams) error { return GetImages(t.Context(), n.Client, s, GetOptions{}) })
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "images.golden", out)

	out, progress, err := run(func(s Streams) error { return PullImage(t.Context(), n.Client, s, "nginx") })
	if err != nil || out != "nginx\n" || progress != "nginx: resolving\nnginx: downloading\nnginx: done\n" {
		t.Errorf("pull: %q, %q, %v", out, progress, err)
	}
	n.images.err = errors.New("no route to host")
	large := func(s Streams) error {
		s.In = io.LimitReader(zeros{}, 64<<20)
		return ImportImages(t.Context(), n.Client, s, "-")
	}
	if _, _, err = run(large); err == nil || err.Error() != "no route to host" {
		t.Errorf("an import refused before its end: %v", err)
	}
	if _, _, err = run(func(s Streams) error { return PullImage(t.Context(), n.Client, s, "nginx") }); err == nil || err.Error() != "no route to host" {
		t.Errorf("a pull that fails: %v", err)
	}
	n.images.err = nil
	file := filepath.Join(t.TempDir(), "a.tar")
	_ = os.WriteFile(file, []byte("from a file"), 0o600)
	if out, _, err = run(func(s Streams) error { return ImportImages(t.Context(), n.Client, s, file) }); err != nil || out != "from a file\n" {
		t.Errorf("import: %q, %v", out, err)
	}
	in := func(s Streams) error {
		s.In = strings.NewReader("from stdin")
		return ImportImages(t.Context(), n.Client, s, "-")
	}
	if out, _, err = run(in); err != nil || out != "from stdin\n" {
		t.Errorf("import: %q, %v", out, err)
	}
	post(n, "default", "web", nil)
	out, _, err = run(func(s Streams) error {
		return RemoveImages(t.Context(), n.Client, s, []string{"nginx", "example.org/n:1"}, false)
	})
	if err == nil || !strings.Contains(err.Error(), "is used by pod default/web") || out != "example.org/n:1\n" {
		t.Errorf("rm: %q, %v", out, err)
	}
	if _, _, err = run(func(s Streams) error { return RemoveImages(t.Context(), n.Client, s, []string{"x"}, true) }); ExitCode(err) != ExitNotFound {
		t.Errorf("rm of what is not here: exit %d, %v", ExitCode(err), err)
	}
}
