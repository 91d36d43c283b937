//go:build !nokube

package kube

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(t.Context())) // ended by the test's own clean-up, which waits
}

// withCertificate are credentials whose certificate is issued already.
func withCertificate(s *apiServer) Credentials {
	dir := s.t.TempDir()
	crt, key := filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key")
	s.issue("system:node:box", crt, key)
	return Credentials{Kubeconfig: s.kubeconfig("k", `{client-certificate: "`+crt+`", client-key: "`+key+`"}`), CertDir: s.t.TempDir()}
}

func ready(n *v1.Node) v1.ConditionStatus {
	if n == nil {
		return ""
	}
	if c := condition(&n.Status, v1.NodeReady); c != nil {
		return c.Status
	}
	return ""
}

func TestANodeRegistersAndReportsOnlyChanges(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	var broken atomic.Bool
	broken.Store(true)
	_, stop := s.run(withCertificate(s), func(c *Config, h *Host) {
		c.Node.Labels = map[string]string{"zone": "a"}
		c.Node.Taints = []v1.Taint{{Key: "k", Effect: v1.TaintEffectNoSchedule}}
		h.Runtime = func(context.Context) error {
			if broken.Load() {
				return errors.New("no containerd")
			}
			return nil
		}
	})
	s.until("the node", func() bool { return ready(s.node()) == v1.ConditionFalse })
	n := s.node()
	if n.Labels["zone"] != "a" || n.Labels[v1.LabelHostname] != "box" || len(n.Spec.Taints) != 1 {
		t.Errorf("labels %v, taints %v", n.Labels, n.Spec.Taints)
	}
	if c := condition(&n.Status, v1.NodeReady); c.Reason != "KubeletNotReady" || !strings.Contains(c.Message, "container runtime is down: no containerd") {
		t.Errorf("it is not ready for %+v", c)
	}
	broken.Store(false)
	s.until("a ready node", func() bool { return ready(s.node()) == v1.ConditionTrue })
	s.until("the lease", func() bool {
		return len(s.called("system:node:box POST /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")) > 0
	})
	reports := len(s.called("system:node:box PATCH"))
	time.Sleep(400 * time.Millisecond) // eight intervals
	if now := len(s.called("system:node:box PATCH")); now != reports {
		t.Errorf("%d reports without a change", now-reports)
	}
	// What others write stays, and what they take away comes back.
	s.change(func(n *v1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, v1.NodeCondition{Type: v1.NodeNetworkUnavailable, Status: v1.ConditionFalse})
		n.Status.Capacity["example.com/gpu"] = n.Status.Capacity[v1.ResourcePods]
		delete(n.Labels, v1.LabelOSStable)
	})
	s.until("the label", func() bool { return s.node().Labels[v1.LabelOSStable] == "linux" })
	n = s.node()
	if gpu := n.Status.Allocatable["example.com/gpu"]; condition(&n.Status, v1.NodeNetworkUnavailable) == nil || gpu.Value() != 110 {
		t.Errorf("what others wrote is gone: %v %v", n.Status.Conditions, n.Status.Allocatable)
	}
	// Somebody deletes the node.
	s.remove("/api/v1/nodes/box")
	s.until("the node again", func() bool { return ready(s.node()) == v1.ConditionTrue })
	stop()
	if s.node() == nil {
		t.Error("it left the cluster when it ended")
	}
}

func TestANodeThatIsThereAlreadyIsReconciled(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.mu.Lock()
	s.put("/api/v1/nodes/box", &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "box", Labels: map[string]string{v1.LabelArchStable: "abacus", "theirs": "x"}},
		Status:     v1.NodeStatus{NodeInfo: v1.NodeSystemInfo{BootID: "an earlier boot"}},
	})
	s.mu.Unlock()
	s.run(withCertificate(s), func(c *Config, _ *Host) { c.Node.Labels = map[string]string{"new": "y"} })
	s.until("a ready node", func() bool { return ready(s.node()) == v1.ConditionTrue })
	n := s.node()
	if n.Labels["theirs"] != "x" || n.Labels[v1.LabelArchStable] == "abacus" || n.Labels["new"] != "" {
		t.Errorf("labels %v", n.Labels)
	}
	s.until("the event of a reboot", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, o := range s.objects {
			if e, ok := o.(*v1.Event); ok && e.Reason == "Rebooted" {
				return true
			}
		}
		return false
	})
}

func TestAFirstCertificateComesByTokenAndIsRenewed(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.lifetime = 3 * time.Second
	dir := t.TempDir()
	c := Credentials{
		Bootstrap: s.kubeconfig("boot", `{token: "`+theToken+`"}`), Kubeconfig: filepath.Join(dir, "kubeconfig"), CertDir: filepath.Join(dir, "pki"), RotateClient: true,
	}
	_, stop := s.run(c)
	const request = "POST /apis/certificates.k8s.io/v1/certificatesigningrequests"
	s.until("the node", func() bool { return ready(s.node()) == v1.ConditionTrue })
	if diff := cmp.Diff(1, len(s.called("token "+request))); diff != "" {
		t.Error(diff)
	}
	if others := s.called("token GET /api/v1"); len(others) > 0 {
		t.Errorf("the token was used for %v", others)
	}
	s.until("a renewal by the certificate itself", func() bool { return len(s.called("system:node:box "+request)) > 0 })
	// Offline for longer than the certificate lasts: the token has to help once more, in the running agent.
	s.setDown(true)
	time.Sleep(s.lifetime + time.Second)
	s.setDown(false)
	s.until("another one by token", func() bool { return len(s.called("token "+request)) > 1 })
	stop()
	// And it is the kubeconfig of an agent without the token, as long as it lasts.
	s.lifetime = time.Hour
	again, err := connect(Credentials{Kubeconfig: c.Kubeconfig, CertDir: c.CertDir, RotateClient: true}, "box")
	if err != nil || again.manager == nil {
		t.Errorf("%+v %v", again, err)
	}
}

func TestACertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key")
	s.issue("system:node:one", crt, key)
	conn, err := connect(Credentials{Kubeconfig: s.kubeconfig("k", `{client-certificate: "`+crt+`", client-key: "`+key+`"}`), CertDir: dir + "/pki"}, "box")
	if err != nil {
		t.Fatal(err)
	}
	name := func() string { return conn.id.Current().Leaf.Subject.CommonName }
	if got := name(); got != "system:node:one" {
		t.Fatal(got)
	}
	var closed atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		closeOnChange(ctx, conn.id, 10*time.Millisecond, func() { closed.Add(1) }, s.log())
	}()
	time.Sleep(50 * time.Millisecond)
	s.issue("system:node:two", crt, key)
	s.until("the new certificate", func() bool { return name() == "system:node:two" && closed.Load() > 0 })
	write(t, crt, []byte("half a certi"))
	time.Sleep(50 * time.Millisecond)
	if got := name(); got != "system:node:two" {
		t.Errorf("a file that cannot be read left %q in use", got)
	}
	cancel()
	<-done
}

func TestWithoutAnAPIServerANodeWaits(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.setDown(true)
	n, _ := s.run(withCertificate(s))
	select {
	case <-n.Registered():
		t.Fatal("it is registered nowhere")
	case <-time.After(300 * time.Millisecond):
	}
	if o := n.Object(); o == nil || o.Labels[v1.LabelHostname] != "box" {
		t.Errorf("pods would be admitted by %v", o)
	}
	s.setDown(false)
	s.until("the node", func() bool { return ready(s.node()) == v1.ConditionTrue })
}
