package rows

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"

	"edgepod.dev/agent/contrib/e2e/node"
)

// atOnce is how many rows start their pods side by side.
const atOnce = 10

// Suite is the rows on one node, whose agent runs.
type Suite struct {
	node *node.Node
	rows []*X
}

// Finding is what is wrong with a row.
type Finding struct{ Row, Text string }

// On makes a suite of the rows whose names match a pattern.
func On(n *node.Node, pattern *regexp.Regexp) (*Suite, error) {
	s := &Suite{node: n}
	b := &board{node: n}
	for _, r := range All() {
		for _, side := range []bool{false, true} {
			if r.Test != "" || !pattern.MatchString(r.Name) || side && !r.twice() {
				continue
			}
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			x := &X{Row: r, Side: side, Name: podName(r.Name, side), Port: port, board: b}
			x.Out, x.node = filepath.Join(n.Dir, "out", x.Name), n.With(x)
			s.rows = append(s.rows, x)
		}
	}
	return s, nil
}

// freePort is a port that nobody listens on, for TCP. Those of one suite differ, as the kernel hands them out in turn.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Begin starts the rows' pods and looks at each.
func (s *Suite) Begin() []Finding {
	found := s.each(func(x *X) {
		x.apply()
		x.look()
	})
	for _, x := range s.rows {
		if p := s.pod(x); p != nil {
			x.First = p.DeepCopy()
		}
	}
	return found
}

// Again looks at each row after the agent was killed and started: nothing may have changed.
func (s *Suite) Again() []Finding {
	return s.each(func(x *X) {
		if x.broken {
			return
		}
		x.Again = true
		x.look()
		if diff := cmp.Diff(instances(x.First), instances(x.Pod())); diff != "" && !x.Row.Restarts {
			x.Errorf("a restart of the agent changed the containers (-before +after):\n%s", diff)
		}
	})
}

// End takes the manifests away and looks at what the pods leave.
func (s *Suite) End() []Finding {
	for _, x := range s.rows {
		x.remove()
	}
	return s.each(func(x *X) {
		x.Eventually("the pod to be gone", func() string {
			if p := x.Pod(); p != nil {
				return node.Describe(p)
			}
			return ""
		})
		if x.Row.After != nil && !x.broken {
			x.Row.After(x)
		}
		if x.server != nil {
			x.server.stop()
		}
	})
}

// each runs a function on every row, some at a time, and returns what they found wrong.
func (s *Suite) each(do func(*X)) []Finding {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, x := range s.rows {
		x.wrong = nil
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(x)
		})
	}
	wg.Wait()
	var out []Finding
	for _, x := range s.rows {
		name := x.Row.Name
		if x.Side {
			name += ", of a sidecar"
		}
		f := Finding{Row: name, Text: strings.Join(x.wrong, "\n")}
		if x.broken && f.Text != "" {
			f.Text += "\n" + node.Describe(s.pod(x))
		} else {
			f.Text = ""
		}
		out = append(out, f)
	}
	return out
}

func (s *Suite) pod(x *X) *v1.Pod {
	p, _ := x.board.pod(x.Name)
	return p
}

// look waits until the row can be looked at and looks.
func (x *X) look() {
	until := x.Row.Until
	if until == nil {
		until = node.Ready
	}
	x.Eventually("the pod to be ready for a look", func() string {
		if p := x.Pod(); p == nil || !until(p) {
			return node.Describe(p)
		}
		return ""
	})
	if x.Row.Says != "" {
		x.Eventually("the script to end", func() string {
			if _, err := os.Stat(filepath.Join(x.Out, "said")); err != nil {
				return "so far it says " + x.Read("tmp")
			}
			return ""
		})
		p := x.Pod()
		want := strings.NewReplacer("@IP@", p.Status.PodIP, "@UID@", string(p.UID), "@NODE@", p.Spec.NodeName).Replace(x.fill(x.Row.Says))
		x.Want("what the container says", x.Read("said"), strings.TrimSpace(want))
	}
	if x.Row.Look != nil {
		x.Row.Look(x)
	}
}

// instances are the containers of a pod with how often they were started.
func instances(p *v1.Pod) map[string]int32 {
	out := map[string]int32{}
	if p == nil {
		return out
	}
	for _, list := range [][]v1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range list {
			out[c.Name+" "+c.ContainerID] = c.RestartCount
		}
	}
	return out
}
