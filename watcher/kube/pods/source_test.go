package pods

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func TestAPodComesWithAllThatItNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putSettings()
	w.putSecret("s3cret")
	w.server.put("services", &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
		Spec:       v1.ServiceSpec{ClusterIP: "10.0.0.1", Ports: []v1.ServicePort{{Name: "https", Port: 443, Protocol: v1.ProtocolTCP}}},
	})
	w.server.put("pods", apiPod("web", naming))
	w.server.put("pods", apiPod("elsewhere", func(p *v1.Pod) { p.Spec.NodeName = "node2" }))
	w.start()
	pods := w.next()
	web := pods["web"]
	if len(pods) != 1 || web == nil || web.UID() != "uid-web" || web.Document != nil || web.Object.Kind != "Pod" {
		t.Fatalf("the first snapshot has %v", pods)
	}
	if got := web.Origin.File; got != "https://api/namespaces/default/pods/web" {
		t.Errorf("its origin is %q", got)
	}
	if d := cmp.Diff(map[string]string{"k": "s3cret"}, files(t, web, 0)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"token": "default-1"}, files(t, web, 1)); d != "" {
		t.Error(d)
	}
	env := environ(t, web)
	for name, want := range map[string]string{
		"MODE": "fast", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
		"KUBERNETES_PORT_443_TCP_ADDR": "10.0.0.1", "KUBERNETES_PORT": "tcp://10.0.0.1:443",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	// Only what pods name is asked for, each by its name.
	for _, c := range append(w.server.called("GET secrets"), w.server.called("GET configmaps")...) {
		if !strings.Contains(c, "metadata.name=") {
			t.Errorf("asked for %s", c)
		}
	}

	w.putSecret("other")
	again := w.next()["web"]
	if again.UID() != web.UID() || again.Object != web.Object || again.Bound.Equal(web.Bound) {
		t.Error("a rotated Secret is not the same pod with other data")
	}
	if d := cmp.Diff(map[string]string{"k": "other"}, files(t, again, 0)); d != "" {
		t.Error(d)
	}
	w.server.put("pods", apiPod("web", naming, func(p *v1.Pod) { p.Status.PodIP = "10.1.1.1" }))
	w.quiet(200 * time.Millisecond)
	w.server.put("pods", apiPod("web", naming, func(p *v1.Pod) { p.Labels = map[string]string{"a": "b"} }))
	if p := w.next()["web"]; p.Object.Labels["a"] != "b" || !p.Bound.Equal(again.Bound) {
		t.Error("a label did not come with the data as it was")
	}
	w.server.remove("pods", "default", "web")
	if pods := w.next(); len(pods) != 0 {
		t.Errorf("there is still %v", pods)
	}
}

func TestATokenIsRenewedBeforeItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.life = 2 * time.Second
	w.server.put("pods", apiPod("web", func(p *v1.Pod) { naming(p); p.Spec.Containers[0].EnvFrom = nil; p.Spec.Volumes = p.Spec.Volumes[1:] }))
	w.start()
	began := time.Now()
	if got := files(t, w.next()["web"], 0)["token"]; got != "default-1" {
		t.Errorf("the token is %q", got)
	}
	got := files(t, w.next()["web"], 0)["token"]
	if took := time.Since(began); got != "default-2" || took > 2*time.Second {
		t.Errorf("the token is %q after %v", got, took)
	}
}

func TestATokenLivesAsLongAsTheServerSaysWhateverTheClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.behind = 3 * time.Hour
	w.server.put("pods", apiPod("web", func(p *v1.Pod) { naming(p); p.Spec.Containers[0].EnvFrom = nil; p.Spec.Volumes = p.Spec.Volumes[1:] }))
	w.start()
	if got := files(t, w.next()["web"], 0)["token"]; got != "default-1" {
		t.Errorf("the token is %q", got)
	}
	w.quiet(500 * time.Millisecond)
}

func TestATokenWithoutALifeIsNotAskedForWithoutEnd(t *testing.T) {
	now := time.Now()
	for _, expires := range []time.Time{{}, now.Add(-time.Hour), now, now.Add(time.Second)} {
		if at := refreshAt(&token{value: "t", issued: now, expires: expires}); at.Before(now.Add(500 * time.Millisecond)) {
			t.Errorf("a token until %v is asked for anew after %v", expires, at.Sub(now))
		}
	}
}

func TestAPodWhoseObjectIsMissingComesWithoutIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putSecret("s3cret")
	w.server.put("pods", apiPod("web", naming))
	w.start()
	web := w.next()["web"]
	if web == nil || web.Bound.ConfigMap("settings") != nil || web.Bound.Secret("key") == nil {
		t.Fatalf("the pod is %v", web)
	}
	w.putSettings()
	if again := w.next()["web"]; again.Bound.ConfigMap("settings") == nil || again.UID() != web.UID() {
		t.Error("the ConfigMap that came was not bound")
	}
}

func TestAClaimIsResolvedOnceItIsBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pvc := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: "uid-data"}}
	w.server.put("persistentvolumeclaims", pvc)
	w.server.put("pods", apiPod("web", func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	}))
	w.start()
	c, ok := w.next()["web"].Bound.Claim("v")
	if !ok || !strings.Contains(c.Problem, "PVC is not bound") {
		t.Errorf("the claim is %+v", c)
	}
	w.server.put("persistentvolumes", &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv1"},
		Spec: v1.PersistentVolumeSpec{
			ClaimRef:               &v1.ObjectReference{UID: "uid-data"},
			PersistentVolumeSource: v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: "/srv"}},
		},
	})
	pvc.Spec.VolumeName, pvc.Status.Phase = "pv1", v1.ClaimBound
	w.server.put("persistentvolumeclaims", pvc)
	if c, _ = w.next()["web"].Bound.Claim("v"); c.HostPath == nil || c.HostPath.Path != "/srv" {
		t.Errorf("the claim is %+v", c)
	}
}

func TestAClaimThatWasKeptIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bound := func(uid types.UID, volume, path string) {
		w.server.put("persistentvolumes", &v1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: volume},
			Spec: v1.PersistentVolumeSpec{
				ClaimRef:               &v1.ObjectReference{UID: uid},
				PersistentVolumeSource: v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path}},
			},
		})
		w.server.put("persistentvolumeclaims", &v1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: uid},
			Spec:       v1.PersistentVolumeClaimSpec{VolumeName: volume}, Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimBound},
		})
	}
	claiming := func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	}
	where := func(pods map[string]*manifests.Pod) string {
		c, _ := pods["web"].Bound.Claim("v")
		if c.HostPath == nil {
			return c.Problem
		}
		return c.HostPath.Path
	}
	bound("uid-old", "pv1", "/old")
	w.server.put("pods", apiPod("web", claiming))
	w.start()
	if got := where(w.next()); got != "/old" {
		t.Fatalf("the claim is %s", got)
	}
	w.until("the file", func() bool { _, err := os.Stat(w.file); return err == nil })
	w.stop()

	// While there is nobody to ask, what was kept counts.
	w.server.setDown(true)
	w.start()
	if got := where(w.next()); got != "/old" {
		t.Errorf("without the API server the claim is %s", got)
	}
	w.quiet(2 * testPatience)
	// Meanwhile another claim has got the name.
	bound("uid-new", "pv2", "/new")
	w.server.setDown(false)
	if got := where(w.next()); got != "/new" {
		t.Errorf("the claim is %s", got)
	}
}

func TestWhatWasKeptInTheClearIsEncryptedOnceThereIsAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putSecret("s3cret")
	w.server.put("pods", apiPod("web", func(p *v1.Pod) { naming(p); p.Spec.Containers[0].EnvFrom = nil; p.Spec.Volumes = p.Spec.Volumes[:1] }))
	w.start()
	w.next()
	w.until("the file", func() bool { _, err := os.Stat(w.file); return err == nil })
	w.stop()
	w.key = []byte("a key")
	w.start()
	w.next()
	w.until("a file that is encrypted", func() bool { b, err := os.ReadFile(w.file); return err == nil && bytes.HasPrefix(b, sealedMagic) })
}

func TestTheVariablesOfServicesDoNotFlap(t *testing.T) {
	s := newServices(nil, time.Second, func() {})
	for _, name := range []string{"foo", "foo-service", "bar"} {
		_ = s.Add(&v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1.ServiceSpec{ClusterIP: "10.0.0.1", Ports: []v1.ServicePort{{Port: 80}}}})
	}
	first, _ := s.env(apiPod("web"), time.Now())
	for range 50 {
		if again, _ := s.env(apiPod("web"), time.Now()); !slices.Equal(first, again) {
			t.Fatal(cmp.Diff(first, again))
		}
	}
	if i := slices.IndexFunc(first, func(e manifests.EnvVar) bool { return e.Name == "FOO_SERVICE_PORT" }); first[i].Value != "80" {
		t.Errorf("FOO_SERVICE_PORT is %s", first[i].Value)
	}
}

func TestAPodThatTheNodeCannotRunIsRefusedForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	greedy := func(p *v1.Pod) { p.Spec.Containers[0].Resources.Requests = list("cpu", "600m") }
	w.server.put("pods", apiPod("first", greedy))
	w.server.put("pods", apiPod("second", greedy, func(p *v1.Pod) { p.CreationTimestamp = metav1.Unix(1700000009, 0) }))
	w.start()
	pods := w.next()
	if len(pods) != 1 || pods["first"] == nil {
		t.Fatalf("the snapshot has %v", pods)
	}
	w.until("the refusal", func() bool { return w.server.pod("default", "second").Status.Phase == v1.PodFailed })
	s := w.server.pod("default", "second").Status
	if s.Reason != "OutOfcpu" || s.Message != "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 600, capacity: 1000" || s.StartTime == nil {
		t.Errorf("the status is %+v", s)
	}
	w.until("the event", func() bool { return len(w.server.events()) == 1 })
	if e := w.server.events()[0]; e.Reason != "OutOfcpu" || e.InvolvedObject.UID != "uid-second" || e.Source.Component != "kubelet" || e.Source.Host != "node1" {
		t.Errorf("the event is %+v", e)
	}
	w.stop()
	// An agent that starts again does not admit anew what runs, nor run what was refused.
	w.server.put("pods", apiPod("first", greedy, func(p *v1.Pod) {
		p.Status.StartTime = &metav1.Time{Time: time.Now()}
		p.Spec.NodeSelector = map[string]string{"zone": "b"}
	}))
	w.start()
	if pods := w.next(); len(pods) != 1 || pods["first"] == nil {
		t.Errorf("after a restart the snapshot has %v", pods)
	}
	w.server.put("pods", apiPod("second", greedy, func(p *v1.Pod) {
		p.Status.Phase, p.DeletionTimestamp = v1.PodFailed, &metav1.Time{Time: time.Now()}
	}))
	w.until("the end of the refused pod", func() bool { return w.server.pod("default", "second") == nil })
}

func TestAPodThatAListLacksStaysUntilTheServerConfirmsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("web"))
	w.server.put("pods", apiPod("db"))
	w.start()
	w.next()
	w.server.setDown(true)
	w.server.forget("pods", "default", "web")
	w.server.forget("nodes", "", "node1") // it has lost its memory
	w.server.setDown(false)
	w.until("another list", func() bool { return len(w.pods.set.doubtful()) == 1 })
	w.quiet(1500 * time.Millisecond)
	w.server.put("nodes", &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}})
	if pods := w.next(); len(pods) != 1 || pods["db"] == nil {
		t.Errorf("the snapshot has %v", pods)
	}
}

func TestPodsRunAgainWithoutTheAPIServer(t *testing.T) {
	for name, key := range map[string][]byte{"in the clear": nil, "encrypted": []byte("a key")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.key = key
			w.putSettings()
			w.putSecret("s3cret")
			w.server.put("pods", apiPod("web", naming))
			w.server.put("pods", apiPod("db"))
			w.start()
			w.next()
			w.until("the file", func() bool { _, err := os.Stat(w.file); return err == nil })
			w.stop()
			st, err := os.Stat(w.file)
			if err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("the file: %v %v", st, err)
			}
			b, _ := os.ReadFile(w.file)
			if clear := bytes.Contains(b, []byte(`"MODE":"fast"`)); clear != (key == nil) {
				t.Errorf("the file shows what it holds: %v", clear)
			}

			w.server.setDown(true)
			w.start()
			pods := w.next()
			web := pods["web"]
			if len(pods) != 2 || web == nil {
				t.Fatalf("without the API server the snapshot has %v", pods)
			}
			if d := cmp.Diff(map[string]string{"k": "s3cret"}, files(t, web, 0)); d != "" {
				t.Error(d)
			}
			if got := files(t, web, 1)["token"]; got != "default-1" || environ(t, web)["MODE"] != "fast" {
				t.Errorf("token %q, environment %v", got, environ(t, web))
			}
			w.post(web, v1.PodStatus{Phase: v1.PodRunning, PodIP: "10.1.1.1", PodIPs: []v1.PodIP{{IP: "10.1.1.1"}}}, false)
			w.quiet(100 * time.Millisecond)
			w.server.remove("pods", "default", "db") // meanwhile
			w.server.setDown(false)
			if pods := w.next(); len(pods) != 1 || pods["web"].UID() != web.UID() || !pods["web"].Bound.Equal(web.Bound) {
				t.Errorf("back online the snapshot has %v", pods)
			}
			w.until("the status", func() bool { return w.server.pod("default", "web").Status.PodIP == "10.1.1.1" })
		})
	}
}

func TestWithoutAnythingKeptNothingIsSaidBeforeTheServerWasRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.setDown(true)
	w.start()
	w.quiet(2 * testPatience)
	w.server.setDown(false)
	if pods := w.next(); len(pods) != 0 {
		t.Errorf("the snapshot has %v", pods)
	}
}

func TestAPodWaitsForItsRuntimeClass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.put("pods", apiPod("web", func(p *v1.Pod) { p.Spec.RuntimeClassName = new("fast") }))
	w.server.put("pods", apiPod("db"))
	w.start()
	if pods := w.next(); len(pods) != 1 || pods["db"] == nil {
		t.Errorf("the snapshot has %v", pods)
	}
	w.until("the event", func() bool { return len(w.server.events()) == 1 })
	if e := w.server.events()[0]; e.Reason != "FailedCreatePodSandBox" || !strings.Contains(e.Message, `RuntimeClass "fast" not found`) {
		t.Errorf("the event is %+v", e)
	}
	w.server.put("runtimeclasses", &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Handler: "kata"})
	pods := w.next()
	if len(pods) != 2 || *pods["web"].Object.Spec.RuntimeClassName != "kata" {
		t.Errorf("the snapshot has %v", pods)
	}
	w.server.put("pods", apiPod("web", func(p *v1.Pod) { p.Spec.RuntimeClassName, p.Status.PodIP = new("fast"), "10.1.1.1" }))
	w.quiet(200 * time.Millisecond)
}

func TestAFieldThatConfinesAPodIsNotIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*v1.Pod)
		refused bool
	}{
		"what every pod of a cluster has": {change: func(p *v1.Pod) {
			naming(p)
			p.Spec.NodeSelector, p.Spec.SchedulerName = map[string]string{"a": "b"}, "default-scheduler"
			p.Spec.PriorityClassName, p.Spec.RuntimeClassName = "high", new("fast")
		}},
		"users of its own": {change: func(p *v1.Pod) { p.Spec.HostUsers = new(false) }, refused: !supported("spec.hostUsers")},
	} {
		t.Run(name, func(t *testing.T) {
			if no := unsafe(apiPod("web", c.change)); (no != nil) != c.refused {
				t.Errorf("the answer is %v", no)
			}
			if paths := manifests.Unsupported(apiPod("web", c.change)); !c.refused && len(paths) != 0 {
				t.Errorf("without effect: %v", paths)
			}
		})
	}
}

// supported says whether the table of fields has a path.
func supported(path string) bool {
	return slices.ContainsFunc(manifests.Fields(), func(f manifests.Field) bool { return f.Path == path })
}
