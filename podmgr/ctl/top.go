package ctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TopOptions are the flags of `kubectl top`.
type TopOptions struct {
	Namespace     string // empty means "default"
	AllNamespaces bool
	Names         []string
	Containers    bool   // a line for each container
	SortBy        string // "", cpu or memory
	NoHeaders     bool
}

// summary is what top reads of the kubelet's stats summary (k8s.io/kubelet/pkg/apis/stats/v1alpha1).
type summary struct {
	Node struct {
		NodeName string `json:"nodeName"`
		usage
	} `json:"node"`
	Pods []struct {
		PodRef struct{ Name, Namespace string } `json:"podRef"`
		usage
		Containers []struct {
			Name string `json:"name"`
			usage
		} `json:"containers"`
	} `json:"pods"`
}

// usage is how much something uses; nil is not known.
type usage struct {
	CPU *struct {
		UsageNanoCores *uint64 `json:"usageNanoCores"`
	} `json:"cpu"`
	Memory *struct {
		WorkingSetBytes *uint64 `json:"workingSetBytes"`
		AvailableBytes  *uint64 `json:"availableBytes"`
	} `json:"memory"`
}

func (u usage) cpu() (nano uint64, known bool) {
	if u.CPU == nil || u.CPU.UsageNanoCores == nil {
		return 0, false
	}
	return *u.CPU.UsageNanoCores, true
}

func (u usage) memory() (bytes uint64, known bool) {
	if u.Memory == nil || u.Memory.WorkingSetBytes == nil {
		return 0, false
	}
	return *u.Memory.WorkingSetBytes, true
}

// cells are the columns CPU(cores) and MEMORY(bytes), as kubectl writes them.
func (u usage) cells() []string {
	cpu, memory := "<unknown>", "<unknown>"
	if n, ok := u.cpu(); ok {
		cpu = fmt.Sprintf("%dm", (n+999_999)/1_000_000)
	}
	if n, ok := u.memory(); ok {
		memory = fmt.Sprintf("%dMi", n>>20)
	}
	return []string{cpu, memory}
}

// TopPods prints what pods use.
func TopPods(ctx context.Context, c *Client, s Streams, o TopOptions) error {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceDefault
	}
	if !slices.Contains([]string{"", "cpu", "memory"}, o.SortBy) {
		return UsageError(fmt.Sprintf("--sort-by %q is neither cpu nor memory", o.SortBy))
	}
	var sum summary
	if err := c.get(ctx, "/stats/summary", nil, &sum); err != nil {
		return err
	}
	type line struct {
		cells []string
		usage usage
	}
	var lines []line
	for _, p := range sum.Pods {
		if !o.AllNamespaces && p.PodRef.Namespace != o.Namespace || len(o.Names) > 0 && !slices.Contains(o.Names, p.PodRef.Name) {
			continue
		}
		first := []string{p.PodRef.Name}
		if o.AllNamespaces {
			first = []string{p.PodRef.Namespace, p.PodRef.Name}
		}
		if !o.Containers {
			lines = append(lines, line{append(first, p.cells()...), p.usage})
			continue
		}
		for _, k := range p.Containers {
			lines = append(lines, line{slices.Concat(first, []string{k.Name}, k.cells()), k.usage})
		}
	}
	if len(lines) == 0 {
		if len(o.Names) > 0 {
			return notFound("pods", o.Names[0])
		}
		fmt.Fprintln(s.Err, "No resources found")
		return nil
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		get := map[string]func(usage) (uint64, bool){"cpu": usage.cpu, "memory": usage.memory}[o.SortBy]
		if get == nil {
			return slices.Compare(a.cells, b.cells)
		}
		x, _ := get(a.usage)
		y, _ := get(b.usage)
		return cmp.Compare(y, x)
	})
	t := table{}
	if !o.NoHeaders {
		h := "NAME CPU(cores) MEMORY(bytes)"
		if o.Containers {
			h = "POD NAME CPU(cores) MEMORY(bytes)"
		}
		if o.AllNamespaces {
			h = "NAMESPACE " + h
		}
		t.add(strings.Fields(h)...)
	}
	for _, l := range lines {
		t.add(l.cells...)
	}
	return t.flush(s.Out)
}

// TopNode prints what the node uses.
func TopNode(ctx context.Context, c *Client, s Streams, o TopOptions) error {
	var sum summary
	if err := c.get(ctx, "/stats/summary", nil, &sum); err != nil {
		return err
	}
	t := table{}
	if !o.NoHeaders {
		t.add("NAME", "CPU(cores)", "MEMORY(bytes)", "MEMORY(%)")
	}
	percent := "<unknown>"
	if used, ok := sum.Node.memory(); ok && sum.Node.Memory.AvailableBytes != nil {
		if all := used + *sum.Node.Memory.AvailableBytes; all > 0 {
			percent = fmt.Sprintf("%d%%", used*100/all)
		}
	}
	t.add(append(append([]string{sum.Node.NodeName}, sum.Node.cells()...), percent)...)
	return t.flush(s.Out)
}
