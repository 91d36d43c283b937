package dashboards

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql/parser"
)

// exported is what the agent exports: labels by metric and by path. A test of the room metrics writes the file.
func exported(t *testing.T) map[string]map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../../../metrics/testdata/exported.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]bool{}
	add := func(name string, labels ...string) {
		if out[name] == nil {
			// What the scrape configuration adds.
			out[name] = map[string]bool{"job": true, "instance": true, "node": true, "metrics_path": true}
		}
		for _, l := range labels {
			out[name][l] = true
		}
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		path, name, kind := fields[0], fields[1], fields[2]
		if path == "/metrics/resource" {
			continue // Prometheus does not scrape it
		}
		var labels []string
		if len(fields) > 3 {
			labels = strings.Split(fields[3], ",")
		}
		if kind == "histogram" {
			add(name+"_bucket", append(labels, "le")...)
			add(name+"_sum", labels...)
			add(name+"_count", labels...)
			continue
		}
		add(name, labels...)
	}
	// The library's, the scrape's, and what depends on the kernel (pressure stall information).
	add("go_memstats_heap_inuse_bytes")
	add("up")
	for _, what := range []string{"cpu", "memory", "io"} {
		for _, how := range []string{"waiting", "stalled"} {
			add("container_pressure_"+what+"_"+how+"_seconds_total", "container", "id", "image", "name", "namespace", "pod")
		}
	}
	return out
}

// check reports what an expression names and the agent does not export.
func check(expr string, known map[string]map[string]bool) []string {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", expr, err)}
	}
	var wrong []string
	anywhere := map[string]bool{}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		labels, exists := known[v.Name]
		if !exists {
			wrong = append(wrong, fmt.Sprintf("%s: the agent does not export %s", expr, v.Name))
			return nil
		}
		for l := range labels {
			anywhere[l] = true
		}
		for _, m := range v.LabelMatchers {
			if m.Name != "__name__" && !labels[m.Name] {
				wrong = append(wrong, fmt.Sprintf("%s: %s has no label %s", expr, v.Name, m.Name))
			}
		}
		return nil
	})
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		var used []string
		switch x := n.(type) {
		case *parser.AggregateExpr:
			used = x.Grouping
		case *parser.BinaryExpr:
			if x.VectorMatching != nil {
				used = append(slices.Clone(x.VectorMatching.MatchingLabels), x.VectorMatching.Include...)
			}
		}
		for _, l := range used {
			if !anywhere[l] {
				wrong = append(wrong, fmt.Sprintf("%s: nothing in it has a label %s", expr, l))
			}
		}
		return nil
	})
	return wrong
}

// TestAlertsNameWhatIsExported: metrics, and their labels.
func TestAlertsNameWhatIsExported(t *testing.T) {
	known := exported(t)
	label := regexp.MustCompile(`\$labels\.([a-z_]+)`)
	for _, r := range readRules(t) {
		for _, w := range check(r.Expr, known) {
			t.Errorf("%s: %s", r.Alert, w)
		}
		for _, text := range r.Annotations {
			for _, m := range label.FindAllStringSubmatch(text, -1) {
				if !slices.ContainsFunc(namesIn(r.Expr), func(name string) bool { return known[name][m[1]] }) {
					t.Errorf("%s: nothing has the label %s that its text shows", r.Alert, m[1])
				}
			}
		}
	}
}

func namesIn(expr string) []string {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil
	}
	var out []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			out = append(out, v.Name)
		}
		return nil
	})
	return out
}

// TestTheCheckFindsWhatIsNotExported, so that the tests above can fail.
func TestTheCheckFindsWhatIsNotExported(t *testing.T) {
	known := exported(t)
	for expr, want := range map[string]int{
		`container_cpu_usage_seconds_total{pod="a"}`:        0,
		`container_cpu_usage_second_total`:                  1,
		`kubelet_running_pods{pod="a"}`:                     1,
		`sum by (pod, flavour) (container_memory_rss)`:      1,
		`rate(kubelet_pod_start_duration_seconds[5m])`:      1,
		`rate(kubelet_pod_start_duration_seconds_sum[5m])`:  0,
		`agent_images * on (colour) group_left agent_image`: 2,
		`sum(`: 1,
	} {
		if have := check(expr, known); len(have) != want {
			t.Errorf("%s: %d complaints, want %d: %q", expr, len(have), want, have)
		}
	}
}

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct{ Expr, RefID string }
}

// TestTheDashboardShowsWhatIsExported, every panel something, and none over another.
func TestTheDashboardShowsWhatIsExported(t *testing.T) {
	known := exported(t)
	b, err := os.ReadFile("../grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID, Title    string
		SchemaVersion int
		Panels        []panel
		Templating    struct {
			List []struct {
				Name, Type string
				Query      any
			}
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || dashboard.Title == "" || dashboard.SchemaVersion == 0 {
		t.Error("the dashboard has no uid, title or schema version")
	}
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range dashboard.Templating.List {
		variables[v.Name] = true
	}
	variable := regexp.MustCompile(`\$\{?([a-z_]+)\}?`)
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: the id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[cell]; other != "" || cell[0] > 23 {
					t.Fatalf("%s lies on %q, or outside", p.Title, other)
				}
				taken[cell] = p.Title
			}
		}
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, m := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if !variables[m[1]] {
					t.Errorf("%s: there is no variable %s", p.Title, m[1])
				}
			}
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			for _, w := range check(variable.ReplaceAllString(expr, ".*"), known) {
				t.Errorf("%s: %s", p.Title, w)
			}
		}
	}
	// label_values(selector, label) of the variables.
	query := regexp.MustCompile(`label_values\((.*), ([a-z_]+)\)`)
	for _, v := range dashboard.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := query.FindStringSubmatch(fmt.Sprint(v.Query))
		if m == nil {
			t.Fatalf("the variable %s asks for %v", v.Name, v.Query)
		}
		for _, w := range check(variable.ReplaceAllString(m[1], ".*"), known) {
			t.Errorf("variable %s: %s", v.Name, w)
		}
	}
}

// TestTheScrapeConfigurationIsRead by Prometheus, scrapes the paths there are, and names the rules.
func TestTheScrapeConfigurationIsRead(t *testing.T) {
	b, err := os.ReadFile("../prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(string(b), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := c.GetScrapeConfigs()
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, j := range jobs {
		paths[j.MetricsPath] = true
		if j.Scheme != "https" || j.HTTPClientConfig.Authorization == nil {
			t.Errorf("%s goes without TLS or without a token", j.JobName)
		}
	}
	for _, p := range []string{"/metrics", "/metrics/cadvisor", "/metrics/probes"} {
		if !paths[p] {
			t.Errorf("nobody scrapes %s", p)
		}
	}
	if !slices.Contains(c.RuleFiles, "alerts.yml") {
		t.Errorf("the rules are not named: %v", c.RuleFiles)
	}
	// Metrics that are dropped must not be used.
	var dropped []interface{ MatchString(string) bool }
	for _, j := range jobs {
		for _, r := range j.MetricRelabelConfigs {
			if r.Action == "drop" {
				dropped = append(dropped, r.Regex)
			}
		}
	}
	dashboard, err := os.ReadFile("../grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(alertFile)
	if err != nil {
		t.Fatal(err)
	}
	for name := range exported(t) {
		for _, d := range dropped {
			if d.MatchString(name) && strings.Contains(string(dashboard)+string(rules), name) {
				t.Errorf("%s is dropped, and used", name)
			}
		}
	}
}
