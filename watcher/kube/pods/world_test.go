package pods

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// testPatience is short, so that what waits for it is seen soon.
const testPatience = 400 * time.Millisecond

// world is a Pods at work between an API server and a board that the test writes.
type world struct {
	t      *testing.T
	server *apiServer
	file   string
	key    []byte

	mu      sync.Mutex
	entries []Entry
	events  []Event
	changed chan struct{}
	ready   chan struct{}

	pods      *Pods
	snapshots chan manifests.Snapshot
	stop      func()
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, server: newAPIServer(t), changed: make(chan struct{}), ready: make(chan struct{}), file: filepath.Join(t.TempDir(), "kube", "pods")}
	close(w.ready)
	return w
}

// start runs an agent.
func (w *world) start() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.snapshots = make(chan manifests.Snapshot)
	w.pods = newPods(Config{
		Client: w.server.client(), NodeName: "node1", Server: "https://api", OfflineFile: w.file, OfflineKey: w.key,
		Node: func() *v1.Node {
			return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", UID: "uid-node1", Labels: map[string]string{"zone": "a"}}, Status: v1.NodeStatus{Allocatable: list("cpu", "1", "memory", "1Gi", "pods", "20")}}
		},
		Handlers: func() []string { return []string{"", "runc", "kata"} },
		Entries:  func() []Entry { w.mu.Lock(); defer w.mu.Unlock(); return append([]Entry(nil), w.entries...) },
		Events:   func() []Event { w.mu.Lock(); defer w.mu.Unlock(); return append([]Event(nil), w.events...) },
		Changed:  func() <-chan struct{} { w.mu.Lock(); defer w.mu.Unlock(); return w.changed },
		Record: func(e Event) {
			e.Count, e.First, e.Last = 1, time.Now(), time.Now()
			w.board(func() { w.events = append(w.events, e) })
		},
		Ready: w.ready, Log: zerolog.New(zerolog.NewTestWriter(w.t)),
	}, testPatience)
	var group sync.WaitGroup
	group.Go(func() {
		if err := w.pods.Run(ctx, w.snapshots); err != nil {
			w.t.Error(err)
		}
	})
	group.Go(func() {
		if err := w.pods.Report(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	w.t.Cleanup(w.stop)
}

// board changes the board.
func (w *world) board(change func()) {
	w.mu.Lock()
	change()
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
}

// post shows a pod of the snapshot with a status.
func (w *world) post(p *manifests.Pod, s v1.PodStatus, gone bool) {
	w.board(func() {
		e := Entry{Key: p.Key(), Pod: p, Source: w.pods.Name(), Status: &s, Gone: gone, Deleted: p.Object.DeletionTimestamp != nil}
		for i := range w.entries {
			if w.entries[i].Key == e.Key {
				w.entries[i] = e
				return
			}
		}
		w.entries = append(w.entries, e)
	})
}

// next is the next snapshot, by the pods' names.
func (w *world) next() map[string]*manifests.Pod {
	w.t.Helper()
	select {
	case s := <-w.snapshots:
		pods := map[string]*manifests.Pod{}
		for _, p := range s.Pods {
			pods[p.Object.Name] = p
		}
		return pods
	case <-time.After(10 * time.Second):
		w.t.Fatal("no snapshot came")
		return nil
	}
}

// quiet says that no snapshot comes.
func (w *world) quiet(d time.Duration) {
	w.t.Helper()
	select {
	case s := <-w.snapshots:
		w.t.Errorf("a snapshot of %d pods came", len(s.Pods))
	case <-time.After(d):
	}
}

// until waits for something to become true.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	w.t.Fatalf("%s did not come true; the calls were:\n%s", what, strings.Join(w.server.called(""), "\n"))
}

func list(pairs ...string) v1.ResourceList {
	l := v1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[v1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

// apiPod is a pod as an API server has it.
func apiPod(name string, change ...func(*v1.Pod)) *v1.Pod {
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: 1, CreationTimestamp: metav1.Unix(1700000000, 0)},
		Spec: v1.PodSpec{
			NodeName: "node1", RestartPolicy: v1.RestartPolicyAlways, ServiceAccountName: "default", EnableServiceLinks: new(true),
			Containers: []v1.Container{{Name: "a", Image: "x"}},
		},
		Status: v1.PodStatus{Phase: v1.PodPending, QOSClass: v1.PodQOSBestEffort},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

// naming makes a pod take a ConfigMap by its environment, a Secret and a token by volumes.
func naming(p *v1.Pod) {
	p.Spec.Containers[0].EnvFrom = []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "settings"}}}}
	p.Spec.Volumes = []v1.Volume{
		{Name: "secret", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "key"}}},
		{Name: "api", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
			{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(3607))}},
		}}}},
	}
}

func (w *world) putSecret(value string) {
	w.server.put("secrets", &v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "key"}, Data: map[string][]byte{"k": []byte(value)}})
}

func (w *world) putSettings() {
	w.server.put("configmaps", &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"MODE": "fast"}})
}

// files are the files of a volume of a pod.
func files(t *testing.T, p *manifests.Pod, volume int) map[string]string {
	t.Helper()
	f, err := manifests.VolumeFiles(p, &p.Object.Spec.Volumes[volume], manifests.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for name, file := range f {
		out[name] = string(file.Data)
	}
	return out
}

// environ is the environment of the first container.
func environ(t *testing.T, p *manifests.Pod) map[string]string {
	t.Helper()
	env, _, err := manifests.Environment(p, &p.Object.Spec.Containers[0], manifests.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range env {
		out[e.Name] = e.Value
	}
	return out
}
