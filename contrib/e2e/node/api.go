package node

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// List asks the agent's socket for all pods.
func (n *Node) List() ([]v1.Pod, error) {
	var l v1.PodList
	err := n.get("/pods", &l)
	return l.Items, err
}

// Problem is what a person has to mend in the manifests, as the agent's socket tells it.
type Problem struct {
	File, Name, Field, Message string
	Line                       int
	Kept                       bool
}

// Problems asks the agent's socket for what is wrong in the manifests.
func (n *Node) Problems() []Problem {
	n.t.Helper()
	var l []Problem
	if err := n.get("/problems", &l); err != nil {
		n.t.Fatalf("asking for problems: %v", err)
	}
	return l
}

// waitImports waits until the agent has as many images as archives were dropped for its start.
func (n *Node) waitImports() {
	n.t.Helper()
	n.Eventually("the dropped archives to be imported", func() string {
		var list []json.RawMessage
		if err := n.get("/images", &list); err != nil {
			return err.Error()
		}
		if len(list) < len(n.Archives) {
			return fmt.Sprintf("%s", list)
		}
		return ""
	})
}

// HTTP is a client of the agent's socket that keeps its connection; any host name will do.
func (n *Node) HTTP() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: n.dial}}
}

// Get asks the agent's socket for a path and returns the answer, which has to be 200.
func (n *Node) Get(path string) string {
	n.t.Helper()
	r, err := n.http.Get("http://agent" + path)
	if err != nil {
		n.t.Fatalf("GET %s: %v", path, err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		n.t.Fatalf("GET %s: %s: %s %v", path, r.Status, b, err)
	}
	return string(b)
}

// get asks the agent's socket for a path and decodes the JSON it answers.
func (n *Node) get(path string, into any) error {
	r, err := n.http.Get("http://agent" + path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, r.Status, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}

// Pod is the pod called name in the namespace default, nil when the agent does not know it.
func (n *Node) Pod(name string) *v1.Pod {
	n.t.Helper()
	pods, err := n.List()
	if err != nil {
		n.t.Fatalf("listing pods: %v\n%s", err, n.tail())
	}
	for i := range pods {
		if pods[i].Name == name {
			return &pods[i]
		}
	}
	return nil
}

// Patience is how long Wait and its kin wait: far more than anything takes on a busy machine with two cores.
const Patience = 40 * time.Second

// Eventually polls ok until it returns "", and fails with its last words otherwise.
func (n *Node) Eventually(what string, ok func() string) {
	n.t.Helper()
	n.Within(Patience, what, ok)
}

// Within is Eventually with a limit of its own. It looks every 5 ms at first and after a twentieth of the time that has passed
// later, at most every 200 ms: tests share the machine with what they wait for.
func (n *Node) Within(limit time.Duration, what string, ok func() string) {
	n.t.Helper()
	began := time.Now()
	for deadline := began.Add(limit); ; time.Sleep(min(max(time.Since(began)/20, 5*time.Millisecond), 200*time.Millisecond)) {
		last := ok()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("waited %v for %s: %s\nagent log:\n%s", limit, what, last, n.tail())
		}
	}
}

// Always checks that ok returns "" for the whole of d.
func (n *Node) Always(d time.Duration, what string, ok func() string) {
	n.t.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s := ok(); s != "" {
			n.t.Fatalf("%s did not hold: %s\nagent log:\n%s", what, s, n.tail())
		}
	}
}

// Wait waits until the pod fulfils ok and returns it. A pod the agent does not know is given as nil.
func (n *Node) Wait(name, what string, ok func(*v1.Pod) bool) *v1.Pod {
	n.t.Helper()
	var p *v1.Pod
	n.Eventually("pod "+name+" "+what, func() string {
		pods, err := n.List()
		if err != nil {
			return err.Error()
		}
		p = nil
		for i := range pods {
			if pods[i].Name == name {
				p = &pods[i]
			}
		}
		if ok(p) {
			return ""
		}
		return Describe(p)
	})
	return p
}

// WaitRunning waits until the pods run with all containers ready, and returns the last of them.
func (n *Node) WaitRunning(names ...string) *v1.Pod {
	n.t.Helper()
	var p *v1.Pod
	for _, name := range names {
		p = n.Wait(name, "running", Ready)
	}
	return p
}

// WaitGone waits until the agent does not know the pods any more.
func (n *Node) WaitGone(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.Wait(name, "gone", func(p *v1.Pod) bool { return p == nil })
	}
}

// Ready says whether a pod has the phase Running and all its containers run and are ready.
func Ready(p *v1.Pod) bool {
	if p == nil || p.Status.Phase != v1.PodRunning || len(p.Status.ContainerStatuses) != len(p.Spec.Containers) || p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running == nil || !c.Ready {
			return false
		}
	}
	return true
}

// Describe puts a pod's status into one line, for messages.
func Describe(p *v1.Pod) string {
	if p == nil {
		return "not known"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "uid %s, phase %s %s %s", p.UID, p.Status.Phase, p.Status.Reason, p.Status.Message)
	for _, c := range p.Status.ContainerStatuses {
		state, _ := json.Marshal(c.State)
		last, _ := json.Marshal(c.LastTerminationState)
		fmt.Fprintf(&b, "; %s: restarts %d, %s, before %s", c.Name, c.RestartCount, state, last)
	}
	return b.String()
}

// Container is the status of one container of a pod.
func Container(p *v1.Pod, name string) v1.ContainerStatus {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == name {
			return c
		}
	}
	return v1.ContainerStatus{}
}
