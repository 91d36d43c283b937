package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// table collects one value per row and column.
type table struct {
	rows    []row
	columns []string
	cells   map[[2]string]string
}

// row is one figure with its target from the issue.
type row struct{ name, target string }

// The rows, in the order of the table.
const (
	rowStart    = "manifest renamed into place → first instruction of the app, pod network"
	rowHostNet  = "the same with hostNetwork"
	rowBurst30  = "30 pods dropped at once → all running"
	rowBurst100 = "100 pods dropped at once → all running"
	rowRemove   = "manifest removed → app gone (it exits on TERM)"
	rowRestart  = "container killed → running again (first restart)"
	rowAPI      = "agent start → API answers"
	rowAdopt    = "agent start with 50 running pods → all adopted"
	rowAnon     = "memory without pods: anonymous"
	rowPSS      = "memory without pods: PSS"
	rowPerPod   = "memory per pod, anonymous: agent (for podman: nothing of it stays)"
	rowWith30   = "memory with 30 pods, PSS: agent"
	rowStack    = "memory with 30 pods, PSS: agent and shims (for podman: conmons)"
	rowShims    = "memory per pod, PSS: shim (for podman: conmon)"
	rowCPU      = "idle CPU with 30 pods: agent"
	rowShimCPU  = "idle CPU with 30 pods: shims or conmons, and an external containerd"
	rowDisk     = "written to disk while nothing changes"
	rowSize     = "size of the program, stripped"
)

func newTable() *table {
	return &table{cells: map[[2]string]string{}, rows: []row{
		{rowStart, "p50 ≤ 120 ms, below half of podman's"},
		{rowHostNet, "p50 ≤ 100 ms"},
		{rowBurst30, "≤ 2.5 s"},
		{rowBurst100, "nothing fails"},
		{rowRemove, "≤ 100 ms"},
		{rowRestart, "≤ 150 ms"},
		{rowAPI, "≤ 150 ms"},
		{rowAdopt, "≤ 500 ms"},
		{rowAnon, "≤ 16 MB; with cAdvisor 10 MB more"},
		{rowPSS, "≤ 50 MB; with cAdvisor 10 MB more"},
		{rowPerPod, "≤ 0.4 MB"},
		{rowWith30, "≤ 62 MB, 50 and 30 times 0.4; with cAdvisor 10 MB more"},
		{rowStack, "kubelet and containerd: 229 MB"},
		{rowShims, ""},
		{rowCPU, "≤ 0.3 % of a core; with cAdvisor ≤ 1 %"},
		{rowShimCPU, ""},
		{rowDisk, "nothing"},
		{rowSize, ""},
	}}
}

func (t *table) set(row, column, value string) {
	if !slices.Contains(t.columns, column) {
		t.columns = append(t.columns, column)
	}
	t.cells[[2]string{row, column}] = value
}

// String is the table in Markdown.
func (t *table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | target | %s |\n|---|---|%s\n", strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s | %s |", r.name, r.target)
		for _, c := range t.columns {
			fmt.Fprintf(&b, " %s |", t.cells[[2]string{r.name, c}])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// times sets a cell to median, extremes and number of samples.
func (b *bench) times(row string, samples []time.Duration) {
	slices.Sort(samples)
	text := fmt.Sprintf("**%s** (%s – %s, n=%d)", ms(median(samples)), ms(samples[0]), ms(samples[len(samples)-1]), len(samples))
	b.table.set(row, b.column, text)
	b.Logf("%s: %s", row, text)
}

func (b *bench) text(row, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.table.set(row, b.column, text)
	b.Logf("%s: %s", row, text)
}

// median is the middle of sorted samples.
func median(sorted []time.Duration) time.Duration {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

func ms(d time.Duration) string {
	if d >= 2*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}
