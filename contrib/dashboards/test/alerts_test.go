package dashboards

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const alertFile = "../alerts.yml"

// readRules parses the rules as Prometheus does; every error is reported.
func readRules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(alertFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	var out []rulefmt.Rule
	for _, g := range groups.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

// fired evaluates every rule once a minute over the series, and returns which alerts fire in the end, with the labels
// that tell them apart, and how their summary reads.
func fired(t *testing.T, series string, length time.Duration) map[string]string {
	t.Helper()
	store := promqltest.LoadedStorage(t, "load 1m\n "+strings.ReplaceAll(strings.TrimSpace(series), "\n", "\n "))
	engine := promqltest.NewTestEngine(t, false, 0, 50_000_000)
	query := rules.EngineQueryFunc(engine, store)
	out := map[string]string{}
	for _, r := range readRules(t) {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		rule := rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
			labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
		for at := time.Unix(0, 0); !at.After(time.Unix(0, 0).Add(length)); at = at.Add(time.Minute) {
			if _, err := rule.Eval(context.Background(), 0, at, query, nil, 0); err != nil {
				t.Fatalf("%s: %v", r.Alert, err)
			}
		}
		for _, a := range rule.ActiveAlerts() {
			if a.State == rules.StateFiring {
				out[r.Alert] = a.Annotations.Get("summary")
			}
		}
	}
	return out
}

// quiet is a node on which all is well.
const quiet = `
up{job="kubelet",metrics_path="/metrics",instance="n:10250",node="n"} 1x60
agent_manifest_problems{instance="n:10250",node="n"} 0x60
agent_pods_on_last_good_version{instance="n:10250",node="n"} 0x60
agent_pod_ready{namespace="shop",pod="web",instance="n:10250",node="n"} 1x60
agent_pod_phase{namespace="shop",pod="web",phase="Running",instance="n:10250",node="n"} 1x60
agent_pod_ready{namespace="shop",pod="job",instance="n:10250",node="n"} 0x60
agent_pod_phase{namespace="shop",pod="job",phase="Succeeded",instance="n:10250",node="n"} 1x60
agent_container_restarts_total{namespace="shop",pod="web",container="main",instance="n:10250",node="n"} 7x60
agent_container_waiting{namespace="shop",pod="new",container="main",reason="ContainerCreating",instance="n:10250",node="n"} 1x60
kubelet_runtime_operations_errors_total{operation_type="start_container",instance="n:10250",node="n"} 3x60
container_oom_events_total{namespace="shop",pod="web",container="",id="/kubepods/podu",instance="n:10250",node="n"} 2x60
container_memory_working_set_bytes{namespace="shop",pod="web",container="main",instance="n:10250",node="n"} 50x60
container_spec_memory_limit_bytes{namespace="shop",pod="web",container="main",instance="n:10250",node="n"} 100x60
container_memory_working_set_bytes{namespace="shop",pod="web",container="free",instance="n:10250",node="n"} 50x60
container_spec_memory_limit_bytes{namespace="shop",pod="web",container="free",instance="n:10250",node="n"} 0x60
container_cpu_cfs_periods_total{namespace="shop",pod="web",container="main",instance="n:10250",node="n"} 0+600x60
container_cpu_cfs_throttled_periods_total{namespace="shop",pod="web",container="main",instance="n:10250",node="n"} 0+6x60
prober_probe_total{namespace="shop",pod="web",container="main",probe_type="Readiness",result="successful",instance="n:10250",node="n"} 0+6x60
prober_probe_total{namespace="shop",pod="web",container="main",probe_type="Readiness",result="failed",instance="n:10250",node="n"} 0+1x60
kubelet_volume_stats_available_bytes{namespace="shop",persistentvolumeclaim="data",instance="n:10250",node="n"} 50x60
kubelet_volume_stats_capacity_bytes{namespace="shop",persistentvolumeclaim="data",instance="n:10250",node="n"} 100x60
container_fs_usage_bytes{id="/",device="/dev/sda1",instance="n:10250",node="n"} 50x60
container_fs_limit_bytes{id="/",device="/dev/sda1",instance="n:10250",node="n"} 100x60
container_memory_working_set_bytes{id="/",instance="n:10250",node="n"} 50x60
machine_memory_bytes{machine_id="m",boot_id="b",system_uuid="s",instance="n:10250",node="n"} 100x60
container_pressure_memory_waiting_seconds_total{id="/",instance="n:10250",node="n"} 0+1x60
`

// TestAlertsAreSilentWhenAllIsWell, also for a pod that is done and a container that is being made.
func TestAlertsAreSilentWhenAllIsWell(t *testing.T) {
	if diff := cmp.Diff(map[string]string{}, fired(t, quiet, time.Hour)); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

// TestEveryAlertFires on what it is for, and on that alone.
func TestEveryAlertFires(t *testing.T) {
	// Each case changes series of the quiet node; the values from the equals sign on replace those of the series that
	// begin so.
	cases := map[string]struct {
		change map[string]string // beginning of a series -> values
		want   string            // of the summary
	}{
		"AgentDown":                  {map[string]string{"up{": "0x60"}, "The agent on n does not answer."},
		"AgentManifestProblems":      {map[string]string{"agent_manifest_problems": "2x60"}, "2 problems in the manifests of n."},
		"AgentPodsOnLastGoodVersion": {map[string]string{"agent_pods_on_last": "1x60 1x10"}, "1 pods on n run an earlier version of their manifest."},
		"AgentRuntimeErrors":         {map[string]string{"kubelet_runtime_operations_errors_total": "0+6x60"}, "The engine on n fails at start_container."},
		"PodNotReady":                {map[string]string{`agent_pod_ready{namespace="shop",pod="web"`: "0x60"}, "Pod shop/web on n is not ready."},
		"PodFailed":                  {map[string]string{`agent_pod_phase{namespace="shop",pod="job",phase="Succeeded"`: `1x60 AS agent_pod_phase{namespace="shop",pod="job",phase="Failed"`}, "Pod shop/job on n has failed."},
		"ContainerCrashLooping":      {map[string]string{"agent_container_restarts_total": "0+1x60"}, "Container main of shop/web keeps ending."},
		"ContainerImageMissing":      {map[string]string{`agent_container_waiting{namespace="shop",pod="new",container="main",reason="ContainerCreating"`: `1x60 AS agent_container_waiting{namespace="shop",pod="new",container="main",reason="ImagePullBackOff"`}, "The image of container main of shop/new cannot be had (ImagePullBackOff)."},
		"ContainerOOMKilled":         {map[string]string{"container_oom_events_total": "2x50 3x20"}, "The kernel killed a process of shop/web for want of memory."},
		"ContainerNearMemoryLimit":   {map[string]string{`container_memory_working_set_bytes{namespace="shop",pod="web",container="main"`: "95x60"}, "Container main of shop/web uses 95% of its memory limit."},
		"ContainerThrottled":         {map[string]string{"container_cpu_cfs_throttled": "0+480x60"}, "Container main of shop/web waits for its CPU limit in 80% of all periods."},
		"ContainerProbeFailing":      {map[string]string{`prober_probe_total{namespace="shop",pod="web",container="main",probe_type="Readiness",result="failed"`: "0+54x60"}, "The Readiness probe of main in shop/web fails."},
		"VolumeNearlyFull":           {map[string]string{"kubelet_volume_stats_available": "5x60"}, "The volume of claim shop/data has 5% left."},
		"NodeDiskNearlyFull":         {map[string]string{"container_fs_usage_bytes": "90x60"}, "/dev/sda1 of n is full to 90%."},
		"NodeMemoryNearlyFull":       {map[string]string{`container_memory_working_set_bytes{id="/"`: "95x60"}, "n uses 95% of its memory."},
		"NodeUnderPressure":          {map[string]string{"container_pressure_memory": "0+30x60"}, "Processes on n wait for memory 50% of the time."},
	}
	for _, r := range readRules(t) {
		c, tested := cases[r.Alert]
		if !tested {
			t.Errorf("no case fires %s", r.Alert)
			continue
		}
		delete(cases, r.Alert)
		t.Run(r.Alert, func(t *testing.T) {
			have := fired(t, changed(t, c.change), 62*time.Minute)
			if diff := cmp.Diff(map[string]string{r.Alert: c.want}, have); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
	for name := range cases {
		t.Errorf("there is no alert %s", name)
	}
}

// changed is the quiet node with other values, and, after AS, another series.
func changed(t *testing.T, change map[string]string) string {
	t.Helper()
	var out []string
	used := map[string]bool{}
	for line := range strings.Lines(quiet) {
		line = strings.ReplaceAll(line, "x60", "x65")
		for begin, values := range change {
			if !strings.HasPrefix(line, begin) {
				continue
			}
			used[begin] = true
			values, as, renamed := strings.Cut(values, " AS ")
			if renamed {
				line = as + strings.TrimPrefix(line, begin)
			}
			line = line[:strings.Index(line, "} ")+2] + strings.ReplaceAll(values, "x60", "x65") + "\n"
		}
		out = append(out, line)
	}
	for begin := range change {
		if !used[begin] {
			t.Fatalf("no series begins with %q", begin)
		}
	}
	return strings.Join(out, "")
}

// TestEveryAlertSaysWhatToDo: a summary, a description, and how bad it is.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	for _, r := range readRules(t) {
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s lacks a summary, a description or a severity", r.Alert)
		}
	}
}
