package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// given are flags as a user may give them; the others have their defaults.
type given map[string]any

func (g given) value(name string) any {
	if v, ok := g[name]; ok {
		return v
	}
	for _, f := range Flags() {
		if f.Name == name {
			return f.Default
		}
	}
	return nil
}

func (g given) Bool(name string) bool     { v, _ := g.value(name).(bool); return v }
func (g given) String(name string) string { v, _ := g.value(name).(string); return v }
func (g given) Int64(name string) int64   { v, _ := g.value(name).(int64); return v }
func (g given) Duration(name string) time.Duration {
	v, _ := g.value(name).(time.Duration)
	return v
}

func (g given) StringSlice(name string) []string {
	v, _ := g.value(name).([]string)
	return v
}

func TestFlagsAreRead(t *testing.T) {
	c, err := Read(given{
		"kubeconfig": "/k", "root": "/r", "port": int64(10250), "node-labels": []string{"a=b", "node.kubernetes.io/x=y"},
		"register-with-taints": []string{"k=v:NoSchedule", "only:NoExecute"}, "node-ip": []string{"10.0.0.1", "fd00::1"},
		"system-reserved": []string{"cpu=200m", "memory=1Gi"}, "eviction-hard": []string{"memory.available<200Mi", "nodefs.available=5%", "imagefs.available<0%"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Access.Mode != ModeWebhook || c.Credentials.CertDir != "/r/pki" || !c.Node.Register || c.Node.MaxPods != 110 {
		t.Errorf("defaults: %+v %+v %+v", c.Access, c.Credentials, c.Node)
	}
	if diff := cmp.Diff(map[string]string{"a": "b", "node.kubernetes.io/x": "y"}, c.Node.Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]v1.Taint{{Key: "k", Value: "v", Effect: "NoSchedule"}, {Key: "only", Effect: "NoExecute"}}, c.Node.Taints); diff != "" {
		t.Error(diff)
	}
	if got := c.HostIP(func() string { return "?" })(); got != "10.0.0.1" {
		t.Errorf("host IP %q", got)
	}
	if q := c.Node.SystemReserved[v1.ResourceCPU]; q.MilliValue() != 200 {
		t.Errorf("reserved %v", q)
	}
	want := []Threshold{{Signal: signalMemory, Quantity: resource.MustParse("200Mi")}, {Signal: signalNodeFs, Percent: 5}}
	if diff := cmp.Diff(want, c.Eviction.Hard); diff != "" {
		t.Error(diff)
	}
}

func TestAnEmptyListIsNone(t *testing.T) {
	none := []string{""}
	c, err := Read(given{
		"kubeconfig": "/k", "node-labels": none, "register-with-taints": none, "node-ip": none, "system-reserved": none,
		"kube-reserved": none, "eviction-hard": none,
	})
	if err != nil || len(c.Node.Labels)+len(c.Node.Taints)+len(c.Node.IPs)+len(c.Node.KubeReserved)+len(c.Eviction.Hard) > 0 {
		t.Errorf("%+v %+v %v", c.Node, c.Eviction, err)
	}
}

func TestFlagsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		flags given
		want  string
	}{
		"a label without a value":                        {given{"node-labels": []string{"a"}}, "want KEY=VALUE"},
		"a label that NodeRestriction forbids":           {given{"node-labels": []string{"node-role.kubernetes.io/x=y"}}, "may not give itself"},
		"a taint without an effect":                      {given{"register-with-taints": []string{"a=b"}}, "want KEY=VALUE:NoSchedule"},
		"one taint twice":                                {given{"register-with-taints": []string{"a=b:NoSchedule", "a=c:NoSchedule"}}, "twice"},
		"two addresses of one family":                    {given{"node-ip": []string{"10.0.0.1", "10.0.0.2"}}, "one of each IP family"},
		"a name in place of an address":                  {given{"node-ip": []string{"box"}}, "node-ip"},
		"a resource that nobody reserves":                {given{"kube-reserved": []string{"gpu=1"}}, "none of"},
		"an unknown signal":                              {given{"eviction-hard": []string{"luck.available<1"}}, "none of"},
		"a threshold of 101 %":                           {given{"eviction-hard": []string{"memory.available<101%"}}, "percentage"},
		"an unknown authorisation":                       {given{"authorization-mode": "RBAC"}, "none of"},
		"a review of tokens without an API server":       {given{"authentication-token-webhook": true}, "--kubeconfig is needed"},
		"a serving certificate without an API server":    {given{"rotate-server-certificates": true}, "--kubeconfig is needed"},
		"a cgroup of containerd that is not the agent's": {given{"runtime-cgroups": "/a", "agent-cgroups": "/b"}, "runs inside the agent"},
		"a node without room for a pod":                  {given{"max-pods": int64(0)}, "at least 1"},
		"a bridge mode that does not exist":              {given{"hairpin-mode": "yes"}, "none of"},
		"a node that never looks at itself":              {given{"kubeconfig": "/k", "node-status-update-frequency": time.Duration(0)}, "more than 0"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Read(test.flags); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestWithoutAKubeconfigItIsNotAPIServerMode(t *testing.T) {
	c, err := Read(given{})
	if err != nil || c.Enabled() || c.Access.Mode != "" {
		t.Errorf("%+v %v", c, err)
	}
}
