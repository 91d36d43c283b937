package podmgr

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// statuses are the situations whose status is kept as a golden file named after them.
func statuses() map[string]facts {
	ready := sandboxed("new", SandboxReady)
	hostNetwork := wanted(always, "a")
	hostNetwork.Object.Spec.HostNetwork = true
	hostSandbox := sandboxed("new", SandboxReady)
	hostSandbox[0].IPs = nil
	running := facts{pod: wanted(always, "a", "b").Object, have: &Observed{
		Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "b", 2, createdAgo(40))},
	}}
	shown := status(complete(running))
	inits := withInit(wanted(always, "a"), "i1", "s", "i2")
	gated := wanted(always, "a")
	gated.Object.Spec.ReadinessGates = []v1.PodReadinessGate{{ConditionType: "example.com/a"}, {ConditionType: "example.com/b"}}
	gated.Object.Status.Conditions = []v1.PodCondition{{Type: "example.com/b", Status: v1.ConditionFalse}}
	probed := changed(changed(wanted(always, "a", "b"), "a", startupProbe), "b", func(c *v1.Container) { c.ReadinessProbe = &v1.Probe{} })
	limited := wanted(always, "a")
	limited.Object.Spec.ActiveDeadlineSeconds = new(int64(3000))
	return map[string]facts{
		"nothing is there yet": {pod: wanted(always, "b", "a").Object, have: &Observed{}},
		"the former version is still going": {
			pod: wanted(always, "a").Object, have: &Observed{Containers: []Container{instance("old", "a", 0)}},
		},
		"the sandbox cannot be made": {
			pod: wanted(always, "a").Object, have: &Observed{Remains: []types.UID{"new"}},
			mem: new(failedBefore(memory{}, ensureSandbox, "", 0, 2, 1, fmt.Errorf("no address left"))),
		},
		"one container runs and one is being created": {
			pod:  wanted(always, "a", "b").Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "b", 0, created)}},
		},
		"it runs": running,
		"it runs on the host's network": {
			pod: hostNetwork.Object, have: &Observed{Sandboxes: hostSandbox, Containers: []Container{instance("new", "a", 0)}},
		},
		"a container was restarted": {
			pod: wanted(always, "a", "b").Object, have: &Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0), instance("new", "b", 0, exited(137, 60, 30), func(c *Container) {
					c.Reason, c.Signal, c.Message = "OOMKilled", 9, "out of memory"
				}), instance("new", "b", 1, createdAgo(30)),
			}},
		},
		"a container waits to be restarted": {
			pod: wanted(always, "a", "b").Object, have: &Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0), instance("new", "b", 4, exited(2, 60, 30), carries(80)),
			}},
		},
		"a container has just ended": {
			pod:  wanted(always, "a").Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 60, 0), unsealed)}},
		},
		"an image has just failed to come": {
			pod: wanted(always, "a").Object, have: &Observed{Sandboxes: ready},
			mem: new(failedBefore(memory{}, pull, "app", 0, 1, 1, fmt.Errorf("no route to host"))),
		},
		"an image does not come": {
			pod: wanted(always, "a").Object, have: &Observed{Sandboxes: ready},
			mem: new(failedBefore(memory{}, pull, "app", 0, 1, 5, &ReasonError{Reason: "ErrImagePull", Err: fmt.Errorf("no route to host")})),
		},
		"an image must not be pulled": {
			pod: wanted(always, "a").Object, have: &Observed{Sandboxes: ready},
			mem: new(failedBefore(memory{}, pull, "app", 0, 1, 5, &ReasonError{Reason: "ErrImageNeverPull", Err: fmt.Errorf("image is not here")})),
		},
		"an image does not come for a restart": {
			pod: wanted(always, "a").Object, have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(1, 60, 30))}},
			mem: new(failedBefore(memory{}, pull, "app", 0, 1, 5, fmt.Errorf("no route to host"))),
		},
		"a container cannot be made": {
			pod: wanted(always, "a").Object, have: &Observed{Sandboxes: ready},
			mem: new(failedBefore(memory{}, start, "a", 0, 1, 1, &ReasonError{Reason: "CreateContainerConfigError", Err: fmt.Errorf("no such key")})),
		},
		"the engine could not run it": {
			pod: wanted(always, "a").Object, have: &Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 1, exited(128, 0, 5), carries(10), func(c *Container) {
					c.Started, c.Reason, c.Message = time.Time{}, "StartError", "exec: no such file"
				}),
			}},
		},
		"it has succeeded": {
			pod: wanted(onFailure, "a", "b").Object, have: &Observed{Containers: []Container{
				instance("new", "a", 0, exited(0, 60, 30)), instance("new", "b", 0, exited(0, 60, 20)),
			}},
		},
		"it has failed": {
			pod: wanted(never, "a", "b").Object, have: &Observed{Containers: []Container{
				instance("new", "a", 0, exited(0, 60, 30)), instance("new", "b", 0, exited(3, 60, 20)),
			}},
		},
		"a reboot ended it": {
			pod: wanted(never, "a").Object, have: &Observed{Containers: []Container{instance("new", "a", 0, vanished)}},
		},
		"an init container runs": {pod: inits.Object, have: &Observed{Sandboxes: ready, Containers: []Container{
			instance("new", "i1", 0, exited(0, 5, 90)), instance("new", "i2", 0), instance("new", "s", 0),
		}}},
		"an init container waits to be restarted": {pod: inits.Object, have: &Observed{Sandboxes: ready, Containers: []Container{
			instance("new", "i1", 3, exited(1, 5, 9), carries(40)),
		}}},
		"an init container has failed for good": {
			pod:  withInit(wanted(never, "a"), "i1", "i2").Object,
			have: &Observed{Containers: []Container{instance("new", "i1", 0, exited(0, 5, 90)), instance("new", "i2", 0, exited(2, 5, 9))}},
		},
		"init containers have succeeded and one is gone": {pod: inits.Object, have: &Observed{Sandboxes: ready, Containers: []Container{
			instance("new", "a", 0), instance("new", "i2", 0, exited(0, 5, 90)), instance("new", "s", 0),
		}}},
		"a sidecar is being restarted": {pod: inits.Object, have: &Observed{Sandboxes: ready, Containers: []Container{
			instance("new", "a", 0), instance("new", "i1", 0, exited(0, 5, 90)), instance("new", "i2", 0, exited(0, 5, 80)),
			instance("new", "s", 2, exited(1, 5, 9), carries(40)),
		}}},
		"the sidecars are yet to end": {
			pod:  withInit(wanted(never, "a"), "s").Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(0, 9, 1)), instance("new", "s", 0)}},
		},
		"a reboot has the init containers run again": {pod: inits.Object, have: &Observed{Sandboxes: ready, Containers: []Container{
			instance("new", "a", 0, vanished, createdAgo(6000)), instance("new", "i1", 0, exited(0, 5, 6000)),
			instance("new", "i2", 0, exited(0, 5, 6000)), instance("new", "s", 0, vanished, createdAgo(6000)),
		}}},
		"readiness gates hold it back": {pod: gated.Object, have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0)}}},
		"probes have not come to a verdict": {pod: probed.Object, have: &Observed{Sandboxes: ready, Containers: []Container{
			instance("new", "a", 0), instance("new", "b", 0, marked(Mark{Started: true})),
		}}},
		"probes are content": {pod: probed.Object, have: &Observed{Sandboxes: ready, Containers: []Container{
			instance("new", "a", 0, marked(Mark{Started: true, Ready: true, Since: ago(3990)})),
			instance("new", "b", 0, marked(Mark{Started: true, Ready: true, Since: ago(70)})),
		}}},
		"a postStart hook has failed": {
			pod:  wanted(always, "a").Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(137, 5, 1))}},
			mem:  &memory{notes: map[string]*note{"new_a_0": {own: true, mark: Mark{Ended: EndedByHook}, hookError: "no such file"}}},
		},
		"its active deadline has passed": {
			pod:  limited.Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(143, 2000, 1999))}},
		},
		"its active deadline has passed and a container still runs": {
			pod:  limited.Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, createdAgo(4000))}},
		},
		"all containers are being restarted": {
			pod:  changed(wanted(never, "a", "b"), "a", ruled("Never", v1.ContainerRestartRuleActionRestartAllContainers, opIn, 42)).Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0, exited(42, 5, 1)), instance("new", "b", 0)}},
		},
		"what a rule restarts after a success": {
			pod:  changed(wanted(never, "a"), "a", ruled("Never", restart, opIn, 0)).Object,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 1, exited(0, 5, 1), carries(10))}},
		},
		"it goes and what it ran has ended": {
			pod: wanted(never, "a", "b").Object, going: true, prev: &shown,
			have: &Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(0, 60, 2)), instance("new", "b", 2, createdAgo(40), exited(0, 39, 1)),
			}},
		},
		"it goes and one container is gone already": {
			pod: running.pod, going: true, prev: &shown,
			have: &Observed{Sandboxes: ready, Containers: []Container{instance("new", "b", 2, createdAgo(40), exited(143, 39, 1))}},
		},
	}
}

// complete fills in what all situations share.
func complete(f facts) facts {
	f.now, f.hostIP = noon, "192.0.2.1"
	if f.mem == nil {
		f.mem = &memory{}
	}
	return f
}

func TestStatus(t *testing.T) {
	for name, f := range statuses() {
		t.Run(name, func(t *testing.T) {
			s := status(complete(f))
			got, err := yaml.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "status", strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", "")+".yaml")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(golden, got) {
				t.Errorf("the status differs from %s (-want +got):\n%s", file, cmp.Diff(string(golden), string(got)))
			}
			if f.have.hasContainers("new") && !f.going {
				later := complete(f)
				later.now = noon.Add(time.Second)
				if d := cmp.Diff(s, status(later)); d != "" {
					t.Errorf("a new agent would show it otherwise a second later (-before +after):\n%s", d)
				}
			}
		})
	}
}

func TestConditionsHoldSinceTheyFirstDid(t *testing.T) {
	f := complete(facts{pod: wanted(always, "a").Object, have: &Observed{}})
	first := status(f)
	f.prev, f.now = &first, noon.Add(time.Hour)
	if d := cmp.Diff(first, status(f)); d != "" {
		t.Errorf("with nothing new an hour later (-before +after):\n%s", d)
	}
}

func TestQoSClass(t *testing.T) {
	q := resource.MustParse
	both := func(cpu, memory string) v1.ResourceList {
		return v1.ResourceList{v1.ResourceCPU: q(cpu), v1.ResourceMemory: q(memory)}
	}
	guaranteed := v1.ResourceRequirements{Requests: both("1", "1Gi"), Limits: both("1000m", "1024Mi")}
	for _, c := range []struct {
		name       string
		containers []v1.ResourceRequirements
		want       v1.PodQOSClass
	}{
		{"nothing is asked for", []v1.ResourceRequirements{{}, {}}, v1.PodQOSBestEffort},
		{"everything is asked for and limited alike", []v1.ResourceRequirements{guaranteed, guaranteed}, v1.PodQOSGuaranteed},
		{"one container asks for nothing", []v1.ResourceRequirements{guaranteed, {}}, v1.PodQOSBurstable},
		{"a limit is higher", []v1.ResourceRequirements{{Requests: both("1", "1Gi"), Limits: both("2", "1Gi")}}, v1.PodQOSBurstable},
		{"only memory is asked for", []v1.ResourceRequirements{{
			Requests: v1.ResourceList{v1.ResourceMemory: q("1Gi")}, Limits: v1.ResourceList{v1.ResourceMemory: q("1Gi")},
		}}, v1.PodQOSBurstable},
		{"only other resources are asked for", []v1.ResourceRequirements{{Limits: v1.ResourceList{v1.ResourceEphemeralStorage: q("1Gi")}}}, v1.PodQOSBestEffort},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &v1.Pod{}
			for _, r := range c.containers {
				pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Resources: r})
			}
			if got := QOSClass(pod); got != c.want {
				t.Errorf("the class is %s, want %s", got, c.want)
			}
		})
	}
}
