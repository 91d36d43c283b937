package podmgr

import (
	"testing"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// withInit puts init containers before those of a pod; a name that begins with s is a sidecar's.
func withInit(p *manifests.Pod, names ...string) *manifests.Pod {
	for _, name := range names {
		c := v1.Container{Name: name, Image: "app", ImagePullPolicy: v1.PullAlways}
		if name[0] == 's' {
			c.RestartPolicy = new(v1.ContainerRestartPolicyAlways)
		}
		p.Object.Spec.InitContainers = append(p.Object.Spec.InitContainers, c)
	}
	return p
}

// changed changes a container of a pod.
func changed(p *manifests.Pod, name string, change func(*v1.Container)) *manifests.Pod {
	spec, _ := named(p.Object, name)
	change(spec)
	return p
}

func startupProbe(c *v1.Container) { c.StartupProbe = &v1.Probe{} }

func marked(m Mark) func(*Container) { return func(c *Container) { c.Mark = m } }

func TestPlanOfInitContainers(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	two := func(policy v1.RestartPolicy) want { return want{pod: withInit(wanted(policy, "a", "b"), "i1", "i2")} }
	checkPlans(t, []planCase{
		{
			name: "only the first init container is prepared while the sandbox is made",
			want: two(always),
			mem:  pulled(0, "i1", "i2", "a"),
			do:   []string{"ensure sandbox new", "start i1#0"},
		},
		{
			name: "while one runs nothing else starts",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "i1", 0)}},
			mem:  pulled(0, "i2", "a", "b"),
		},
		{
			name: "the next one starts when it has succeeded",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "i1", 0, exited(0, 5, 5))}},
			mem:  pulled(0, "i2", "a", "b"),
			do:   []string{"start i2#0"},
		},
		{
			name: "the main containers start together when the last one has succeeded, sealed or not",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "i1", 0, exited(0, 5, 9)), instance("new", "i2", 0, exited(0, 2, 1), unsealed),
			}},
			mem: pulled(0, "a", "b"),
			do:  []string{"seal new_i2_0", "start a#0", "start b#0"},
		},
		{
			name: "one that failed is tried again, with back-off",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "i1", 1, exited(1, 5, 4), carries(10))}},
			mem:  pulled(2, "i1"),
			wake: 6 * time.Second,
		},
		{
			name: "one that was killed for want of memory has failed whatever its code",
			want: two(onFailure),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "i1", 0, exited(0, 5, 4), func(c *Container) { c.Reason = "OOMKilled" }),
			}},
			mem: pulled(1, "i1"),
			do:  []string{"start i1#1 carrying 10s"},
		},
		{
			name: "with Never a failure is the end of the pod",
			want: two(never),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "i1", 0, exited(1, 5, 4))}},
			do:   []string{"remove sandbox new_sandbox"},
		},
		{
			name: "what failed for good stays failed without its sandbox",
			want: two(never),
			have: Observed{Containers: []Container{instance("new", "i1", 0, exited(0, 5, 9)), instance("new", "i2", 0, exited(1, 5, 4))}},
		},
		{
			name: "they are not run again because a main container ends",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(1, 5, 1)), instance("new", "b", 0),
				instance("new", "i1", 0, exited(0, 5, 4)), instance("new", "i2", 0, exited(0, 5, 4)),
			}},
			mem: pulled(1, "a"),
			do:  []string{"start a#1 carrying 10s"},
		},
		{
			name: "they are not run again because what is left of them was removed",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "a", 0), instance("new", "b", 0)}},
		},
		{
			name: "the removal of an earlier one's remains does not run it again",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "i2", 0, exited(0, 5, 4))}},
			mem:  pulled(0, "a", "b"),
			do:   []string{"start a#0", "start b#0"},
		},
		{
			name: "in a new sandbox they run again from the first, at once",
			want: two(always),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, vanished, createdAgo(6000)), instance("new", "b", 0, vanished, createdAgo(6000)),
				instance("new", "i1", 0, exited(0, 5, 6000), carries(300)), instance("new", "i2", 0, exited(0, 5, 6000)),
			}},
			mem: pulled(1, "a", "b", "i1", "i2"),
			do:  []string{"start i1#1 carrying 10s"},
		},
		{
			name: "a new sandbox is told by its life, not by the clock",
			want: two(always),
			have: Observed{
				Sandboxes: []Sandbox{{ID: "new_sandbox", UID: "new", State: SandboxReady, Created: ago(90000), Life: "2"}},
				Containers: []Container{
					instance("new", "i1", 0, exited(0, 5, 60), func(c *Container) { c.Life = "2" }),
					instance("new", "i2", 0, exited(0, 5, 30), func(c *Container) { c.Life = "1" }),
				},
			},
			mem: pulled(1, "i2"),
			do:  []string{"start i2#1 carrying 10s"},
		},
		{
			name: "a Never pod that a reboot interrupted between its init containers goes on from the first",
			want: two(never),
			have: Observed{Containers: []Container{instance("new", "i1", 0, exited(0, 5, 6000))}},
			mem:  pulled(1, "i1"),
			do:   []string{"ensure sandbox new", "start i1#1 carrying 10s"},
		},
	})
}

func TestPlanOfSidecars(t *testing.T) {
	ready := sandboxed("new", SandboxReady)
	pod := func(policy v1.RestartPolicy) want { return want{pod: withInit(wanted(policy, "a"), "s1", "i", "s2")} }
	probed := func() want { return want{pod: changed(pod(always).pod, "s1", startupProbe)} }
	initDone := instance("new", "i", 0, exited(0, 5, 4))
	checkPlans(t, []planCase{
		{
			name: "what follows a sidecar starts as soon as that runs",
			want: pod(always),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "s1", 0)}},
			mem:  pulled(0, "i", "a", "s2"),
			do:   []string{"start i#0"},
		},
		{
			name: "what follows a sidecar waits for its startup probe",
			want: probed(),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "s1", 0)}},
			mem:  pulled(0, "i", "a", "s2"),
		},
		{
			name: "a startup probe that has succeeded lets it go on",
			want: probed(),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "s1", 0, marked(Mark{Started: true}))}},
			mem:  pulled(0, "i", "a", "s2"),
			do:   []string{"start i#0"},
		},
		{
			name: "a sidecar that ends is started again and holds nothing back that had begun",
			want: pod(always),
			have: Observed{Sandboxes: ready, Containers: []Container{initDone, instance("new", "s1", 0, exited(0, 5, 1))}},
			mem:  pulled(1, "s1"),
			do:   []string{"start s1#1 carrying 10s", "pull app"},
		},
		{
			name: "even in a pod that is never restarted",
			want: pod(never),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0), initDone, instance("new", "s1", 0, exited(0, 5, 1)), instance("new", "s2", 0),
			}},
			mem: pulled(1, "s1"),
			do:  []string{"start s1#1 carrying 10s"},
		},
		{
			name: "when the main containers have completed the sidecar that was started last ends first",
			want: pod(never),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(0, 9, 1)), initDone, instance("new", "s1", 0), instance("new", "s2", 0),
			}},
			do:   []string{"stop new_s2_0 within 30s"},
			wake: 30 * time.Second,
		},
		{
			name: "then the one before, in what is left of the time",
			want: pod(never),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(0, 9, 1)), initDone, instance("new", "s1", 0), instance("new", "s2", 0, exited(143, 9, 1)),
			}},
			mem: memory{uid: "new", down: downSince("new", -20)},
			do:  []string{"stop new_s1_0 within 20s"},
		},
		{
			name: "then the sandbox goes",
			want: pod(never),
			have: Observed{Sandboxes: ready, Containers: []Container{
				instance("new", "a", 0, exited(0, 9, 1)), initDone,
				instance("new", "s1", 0, exited(143, 9, 1)), instance("new", "s2", 0, exited(143, 9, 1)),
			}},
			do: []string{"remove sandbox new_sandbox"},
		},
		{
			name: "a failed init container ends the sidecars",
			want: pod(never),
			have: Observed{Sandboxes: ready, Containers: []Container{instance("new", "i", 0, exited(3, 5, 4)), instance("new", "s1", 0)}},
			do:   []string{"stop new_s1_0 within 30s"},
		},
	})
}
