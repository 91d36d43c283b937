package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

func TestResolvConfFollowsThePolicyAndTheConfig(t *testing.T) {
	const node = "# by hand\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch lan. example.org\noptions edns0 ndots:1\n"
	cluster := clusterDNS{servers: []string{"10.96.0.10"}, domain: "cluster.local"}
	value := func(s string) *string { return &s }
	const clusterFirst = "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local lan example.org\noptions ndots:5\n"
	const host = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch lan example.org\noptions edns0 ndots:1\n"
	for name, test := range map[string]struct {
		spec    v1.PodSpec
		cluster clusterDNS
		want    string
	}{
		"Default":                            {v1.PodSpec{DNSPolicy: v1.DNSDefault}, cluster, host},
		"ClusterFirst":                       {v1.PodSpec{DNSPolicy: v1.DNSClusterFirst}, cluster, clusterFirst},
		"ClusterFirst without cluster":       {v1.PodSpec{DNSPolicy: v1.DNSClusterFirst}, clusterDNS{}, host},
		"ClusterFirst on the host's network": {v1.PodSpec{DNSPolicy: v1.DNSClusterFirst, HostNetwork: true}, cluster, host},
		"ClusterFirstWithHostNet":            {v1.PodSpec{DNSPolicy: v1.DNSClusterFirstWithHostNet, HostNetwork: true}, cluster, clusterFirst},
		"a cluster without a domain": {
			v1.PodSpec{DNSPolicy: v1.DNSClusterFirst},
			clusterDNS{servers: []string{"10.96.0.10", "fd00::10"}},
			"nameserver 10.96.0.10\nnameserver fd00::10\nsearch lan example.org\noptions ndots:5\n",
		},
		"None": {
			v1.PodSpec{DNSPolicy: v1.DNSNone, DNSConfig: &v1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}}},
			cluster,
			"nameserver 1.1.1.1\n",
		},
		"config is added": {
			v1.PodSpec{DNSPolicy: v1.DNSClusterFirst, DNSConfig: &v1.PodDNSConfig{
				Nameservers: []string{"10.96.0.10", "9.9.9.9"}, Searches: []string{"cluster.local", "more"},
				Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: value("2")}, {Name: "use-vc"}},
			}},
			cluster,
			"nameserver 10.96.0.10\nnameserver 9.9.9.9\nsearch shop.svc.cluster.local svc.cluster.local cluster.local lan example.org more\noptions ndots:2 use-vc\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &v1.Pod{Spec: test.spec}
			p.Namespace = "shop"
			got, notes := resolvConf(p, test.cluster, node)
			if diff := cmp.Diff(test.want, got); diff != "" || len(notes) > 0 {
				t.Error(diff, notes)
			}
		})
	}
}

func TestALimitOfResolvConfIsHeldAndTold(t *testing.T) {
	many := func(n, length int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("%0*d", length, i))
		}
		return out
	}
	for name, test := range map[string]struct {
		config          v1.PodDNSConfig
		servers, search int
		told            string
	}{
		"as many as may be":   {v1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "1.1.1.2", "1.1.1.3"}, Searches: many(32, 63)}, 3, 32, ""},
		"a fourth server":     {v1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"}}, 3, 0, "the applied nameserver line is: 1.1.1.1 1.1.1.2 1.1.1.3"},
		"too many domains":    {v1.PodDNSConfig{Searches: many(33, 5)}, 0, 32, "Search Line limits were exceeded"},
		"too many characters": {v1.PodDNSConfig{Searches: many(32, 64)}, 0, 31, "Search Line limits were exceeded"},
		"one that is long":    {v1.PodDNSConfig{Searches: append(many(1, 254), "short")}, 0, 1, "the applied search line is: short"},
	} {
		t.Run(name, func(t *testing.T) {
			got, notes := resolvConf(&v1.Pod{Spec: v1.PodSpec{DNSPolicy: v1.DNSNone, DNSConfig: &test.config}}, clusterDNS{}, "")
			r := parseResolvConf(got)
			if len(r.servers) != test.servers || len(r.search) != test.search {
				t.Errorf("%d servers and %d domains in %s", len(r.servers), len(r.search), got)
			}
			text := ""
			for _, n := range notes {
				text += n.Reason + " " + n.Message
			}
			if (text == "") != (test.told == "") || !strings.Contains(text, test.told) {
				t.Errorf("told %q, want %q", text, test.told)
			}
		})
	}
}

func TestAPodGetsTheServersBehindTheStubOfTheNode(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	stub, real, up := file("stub", "nameserver 127.0.0.53\n"), file("real", "nameserver 192.0.2.9\n"), file("up", "nameserver 192.0.2.1\n")
	for name, test := range map[string]struct {
		file, uplink string
		hostNetwork  bool
		want         string
	}{
		"a stub":                        {stub, up, false, "192.0.2.1"},
		"a stub, on the host's network": {stub, up, true, "127.0.0.53"},
		"a stub without uplink":         {stub, filepath.Join(dir, "none"), false, "127.0.0.53"},
		"a server":                      {real, up, false, "192.0.2.9"},
		"no file":                       {filepath.Join(dir, "none"), up, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := nodeResolvConf(test.file, test.uplink, test.hostNetwork)
			if servers := strings.Join(parseResolvConf(got).servers, " "); err != nil || servers != test.want {
				t.Errorf("%q, error %v", servers, err)
			}
		})
	}
}

func TestNamesOfAPod(t *testing.T) {
	yes, override := true, "other.example.org"
	long := strings.Repeat("x", 62) + "-y"
	for name, test := range map[string]struct {
		spec          v1.PodSpec
		domain        string
		kernel, hosts string
		err           string
	}{
		"its own":               {v1.PodSpec{}, "c.local", "web", "10.0.0.1\tweb\n", ""},
		"hostname":              {v1.PodSpec{Hostname: "h"}, "c.local", "h", "10.0.0.1\th\n", ""},
		"subdomain":             {v1.PodSpec{Hostname: "h", Subdomain: "s"}, "c.local", "h", "10.0.0.1\th.s.ns.svc.c.local\th\n", ""},
		"without a domain":      {v1.PodSpec{Subdomain: "s"}, "", "web", "10.0.0.1\tweb.s.ns.svc\tweb\n", ""},
		"FQDN":                  {v1.PodSpec{Subdomain: "s", SetHostnameAsFQDN: &yes}, "c.local", "web.s.ns.svc.c.local", "10.0.0.1\tweb.s.ns.svc.c.local\tweb\n", ""},
		"FQDN, no subdomain":    {v1.PodSpec{SetHostnameAsFQDN: &yes}, "c.local", "web", "10.0.0.1\tweb\n", ""},
		"FQDN, too long":        {v1.PodSpec{Subdomain: strings.Repeat("s", 50), SetHostnameAsFQDN: &yes}, "c.local", "", "", "is too long (64 is the max, 69 characters requested)"},
		"override":              {v1.PodSpec{HostnameOverride: &override, Subdomain: "s"}, "c.local", override, "10.0.0.1\tother.example.org\n", ""},
		"cut, no dash at end":   {v1.PodSpec{Hostname: long}, "", strings.Repeat("x", 62), "10.0.0.1\t" + strings.Repeat("x", 62) + "\n", ""},
		"on the host's network": {v1.PodSpec{Hostname: "h", HostNetwork: true}, "c.local", "box", "10.0.0.1\tbox\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := &v1.Pod{Spec: test.spec}
			p.Name, p.Namespace = "web", "ns"
			n, err := namesOf(p, test.domain, "box")
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if err == nil && (n.kernel != test.kernel || n.hostsLine("10.0.0.1") != test.hosts) {
				t.Errorf("hostname %q, hosts %q", n.kernel, n.hostsLine("10.0.0.1"))
			}
		})
	}
}
