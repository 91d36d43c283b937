package e2e

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
	"edgepod.dev/agent/contrib/image"
)

// repository is an image registry on a port of this machine that can be taken down and that counts what it is asked.
type repository struct {
	host string
	mu   sync.Mutex // guards what follows
	down bool
	user string // "name:password" that it asks for; empty: it serves everybody
	gets []string
}

// serve starts a registry, tells the node's certs.d that it speaks plain HTTP, and mirrors mirrored (a host) to it.
func serve(t *testing.T, n *node.Node, mirrored string) *repository {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &repository{host: l.Addr().String()}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		down, user := r.down, r.user
		r.gets = append(r.gets, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler) // the connection breaks without an answer
		}
		if name, password, _ := req.BasicAuth(); user != "" && name+":"+password != user {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, req)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	for _, host := range []string{r.host, mirrored} {
		dir := filepath.Join(n.Certs(), host)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", r.host, r.host)
		if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// push builds an image that says version when it is asked and pushes it as repo:tag.
func (r *repository) push(t *testing.T, repo, version string) (ref string) {
	t.Helper()
	spec, err := image.Busybox(image.File{Path: "/version", Data: []byte(version), Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(r.host+"/"+repo, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatalf("pushing %s: %v", tag, err)
	}
	return tag.String()
}

// setUser has the registry ask for a name and a password, "name:password".
func (r *repository) setUser(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user = user
}

func (r *repository) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// asked counts the requests for blobs since the start.
func (r *repository) asked(part string) (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.gets {
		if strings.HasPrefix(g, "GET ") && strings.Contains(g, part) {
			count++
		}
	}
	return count
}

// pulled is a pod that runs an image of the registry.
func pulled(podName, ref string, policy v1.PullPolicy) *v1.Pod {
	p := node.Pod(podName, "echo version $(cat /version); "+node.Sleep)
	p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = ref, policy
	return p
}

// waiting waits until the container waits for a reason.
func waiting(n *node.Node, podName string, reasons ...string) {
	n.Wait(podName, "waiting: "+strings.Join(reasons, " or "), func(p *v1.Pod) bool {
		if p == nil || len(p.Status.ContainerStatuses) == 0 {
			return false
		}
		w := p.Status.ContainerStatuses[0].State.Waiting
		for _, r := range reasons {
			if w != nil && w.Reason == r {
				return true
			}
		}
		return false
	})
}

func said(n *node.Node, podName, want string) {
	n.Eventually("pod "+podName+" to say "+want, func() string {
		out, errs, _ := n.Agent("logs", podName)
		if strings.Contains(out, want) {
			return ""
		}
		return out + errs
	})
}

func TestPullFromARegistry(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		r := serve(t, n, "mirrored.test")
		n.Start()
		ref := r.push(t, "app:1", "one")
		var names []string
		for i := range 5 { // one pull for all of them
			names = append(names, fmt.Sprintf("p%d", i))
			n.Apply(pulled(names[i], ref, ""))
		}
		n.WaitRunning(names...)
		said(n, "p0", "version one")
		if got := r.asked("/blobs/"); got != 2 {
			t.Errorf("five pods of one image made %d requests for blobs, want 2 (configuration and layer)", got)
		}
		// A mirror named in certs.d serves another host's images.
		r.push(t, "mir/app:1", "mirror")
		n.Apply(pulled("mirror", "mirrored.test/mir/app:1", ""))
		said(n, "mirror", "version mirror")
		// Never, and an image that is nowhere.
		n.Apply(pulled("never", r.host+"/absent:1", v1.PullNever), pulled("absent", r.host+"/absent:1", ""))
		waiting(n, "never", "ErrImageNeverPull")
		waiting(n, "absent", "ErrImagePull", "ImagePullBackOff")
		waiting(n, "absent", "ImagePullBackOff")
		n.Apply(pulled("invalid", "UPPER/Case:!", ""))
		out := n.MustAgent("get", "pods")
		if strings.Contains(out, "invalid") && !strings.Contains(out, "InvalidImageName") {
			waiting(n, "invalid", "InvalidImageName")
		}
	})
}

func TestAlwaysPullsAndFallsBack(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		r := serve(t, n, "unused.test")
		n.Start()
		ref := r.push(t, "app:latest", "one")
		n.Apply(pulled("first", ref, "")) // :latest means Always
		said(n, "first", "version one")
		r.push(t, "app:latest", "two")
		n.Apply(pulled("second", ref, ""))
		said(n, "second", "version two")
		r.setDown(true)
		n.Apply(pulled("third", ref, ""))
		said(n, "third", "version two")
		if out := n.MustAgent("describe", "pod", "third"); !strings.Contains(out, "Warning") {
			t.Errorf("a pod that runs a local image because the registry is down shows no warning:\n%s", out)
		}
		// What is not here waits, and starts when the registry is back.
		r.setDown(false)
		other := r.push(t, "other:1", "other")
		r.setDown(true)
		n.Apply(pulled("other", other, ""))
		waiting(n, "other", "ErrImagePull", "ImagePullBackOff")
		r.setDown(false)
		said(n, "other", "version other")
	})
}

func TestImageCommandsAndTheImportDirectory(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.Start()
		n.Eventually("the dropped archive to be imported", func() string {
			if out := n.MustAgent("images", "ls"); !strings.Contains(out, "edgepod.dev/busybox") {
				return out
			}
			return ""
		})
		// One that appears later, as an OCI archive.
		n.Apply(web("web", "hello", 0))
		n.Wait("web", "waiting for its image", func(p *v1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil
		})
		n.DropImage(built.demo)
		n.WaitRunning("web")
		// An image in use is not removed; one that is not goes, and comes back by import.
		if out, errs, code := n.Agent("images", "rm", "edgepod.dev/demo:1"); code == 0 {
			t.Errorf("removing an image in use succeeded: %s%s", out, errs)
		}
		n.Delete("web")
		n.WaitGone("web")
		n.MustAgent("images", "rm", "edgepod.dev/demo:1")
		if out := n.MustAgent("images", "ls"); strings.Contains(out, "edgepod.dev/demo") {
			t.Errorf("the image is still listed:\n%s", out)
		}
		n.MustAgent("images", "import", built.demo)
		if out := n.MustAgent("images", "ls"); !strings.Contains(out, "edgepod.dev/demo") {
			t.Errorf("the imported image is not listed:\n%s", out)
		}
		// A broken archive is complained about and hurts nobody.
		bad := filepath.Join(n.Images(), "bad.tar")
		if err := os.WriteFile(bad, []byte("not a tar"), 0o644); err != nil {
			t.Fatal(err)
		}
		n.Apply(node.Pod("canary", node.Sleep))
		n.WaitRunning("canary")
		r := serve(t, n, "unused.test")
		ref := r.push(t, "by-hand:1", "hand")
		n.MustAgent("images", "pull", ref)
		if out := n.MustAgent("images", "ls"); !strings.Contains(out, "by-hand") {
			t.Errorf("the pulled image is not listed:\n%s", out)
		}
		if _, _, code := n.Agent("images", "pull", r.host+"/absent:1"); code == 0 {
			t.Error("pulling an image that is nowhere succeeded")
		}
	})
}

// TestPodStartsAsSoonAsItsImageIsImported: who drops an archive and a manifest together does not wait for a back-off.
func TestPodStartsAsSoonAsItsImageIsImported(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		n.DropImage(built.demo)
		n.Apply(web("before", "hello", 0), node.Pod("other", node.Sleep)) // both are there before the agent is
		n.Launch()
		for _, name := range []string{"before", "other"} {
			n.Within(5*time.Second, name+" to run", func() string { return notReady(n, name) })
		}
	})
}

// notReady describes a pod that is not ready; "" means that it is, an agent that does not answer means it is not.
func notReady(n *node.Node, podName string) string {
	pods, err := n.List()
	if err != nil {
		return err.Error()
	}
	for i := range pods {
		if pods[i].Name == podName && node.Ready(&pods[i]) {
			return ""
		}
	}
	return fmt.Sprintf("%d pods, %s is not ready", len(pods), podName)
}

// TestTwoAgentsRunTheSamePod: two agents on one machine, with directories of their own, do not see each other.
func TestTwoAgentsRunTheSamePod(t *testing.T) {
	onEngines(t, func(t *testing.T, n *node.Node) {
		second := node.New(t, node.Options{Engine: n.Engine, Bin: n.Bin, Archives: n.Archives})
		text := node.YAML(t, node.Pod("twin", node.Sleep))
		for _, x := range []*node.Node{n, second} {
			x.Start()
			x.Write("twin.yaml", text)
		}
		for _, x := range []*node.Node{n, second} {
			p := x.WaitRunning("twin")
			if c := p.Status.ContainerStatuses[0]; c.RestartCount != 0 {
				t.Errorf("pod twin: %s, want no restart", node.Describe(p))
			}
		}
		second.Delete("twin")
		second.WaitClean()
		if p := n.Pod("twin"); !node.Ready(p) {
			t.Errorf("the twin's end ended the other: %s", node.Describe(p))
		}
	})
}
