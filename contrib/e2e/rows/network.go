package rows

import (
	"os"
	"regexp"
	"strings"
)

func networkRows() []Row {
	return []Row{
		{
			Name: "the host's network", Fields: each("spec.", "hostNetwork", "hostAliases"),
			Pod: "{hostNetwork: true, hostAliases: [{ip: 192.0.2.8, hostnames: [eight.test]}]}", Script: "cat /etc/hostname 2>/dev/null | wc -l >/dev/null",
			Look: func(x *X) {
				x.Want("the network namespace", x.Namespace("net"), x.HostNamespace("net"))
				x.Contains("/etc/hosts", x.Exec("cat /etc/hosts"), "192.0.2.8\teight.test")
				if ip := x.Pod().Status.PodIP; strings.HasPrefix(ip, x.node.Subnet) || ip == "" {
					x.Errorf("the pod's address is %q, want one of the host", ip)
				}
			},
		},
		{
			Name: "a network of its own", Fields: each("spec.", "hostNetwork"), Script: "ip -4 -o addr show eth0 | awk '{print $4}'", Says: "@IP@/24",
			Look: func(x *X) {
				if x.Namespace("net") == x.HostNamespace("net") {
					x.Errorf("the pod is in the host's network namespace")
				}
			},
		},
		{
			Name: "the hostname", Fields: each("spec.", "hostname"), Pod: "hostname: other-name", Script: "hostname; hostname -i", Says: "other-name\n@IP@",
			Look: func(x *X) {
				if x.Namespace("uts") == x.HostNamespace("uts") {
					x.Errorf("the pod has the host's hostname")
				}
			},
		},
		{
			Name: "a subdomain makes a full name", Fields: each("spec.", "subdomain", "setHostnameAsFQDN"),
			Pod: "{hostname: web, subdomain: sub, setHostnameAsFQDN: true}", Look: func(x *X) {
				x.Contains("the names", x.Exec("hostname; grep -c '"+x.Pod().Status.PodIP+".web.sub.default.svc.*web$' /etc/hosts"), "web.sub.default.svc", "\n1")
			},
		},
		{
			Name: "the hostname may be anything", Fields: each("spec.", "hostnameOverride"), Pod: "hostnameOverride: any.example.org",
			Look: func(x *X) {
				x.Want("the names", x.Exec("hostname; grep -c '^"+x.Pod().Status.PodIP+".any.example.org$' /etc/hosts"), "any.example.org\n1")
			},
		},
		{
			Name: "names in the hosts file", Fields: each("spec.", "hostAliases"), Pod: "hostAliases: [{ip: 192.0.2.7, hostnames: [seven.test, sept.test]}]",
			Look: func(x *X) {
				hosts := x.Exec("cat /etc/hosts")
				for _, want := range []string{`127\.0\.0\.1\s+localhost`, regexp.QuoteMeta(x.Pod().Status.PodIP) + `\s+` + x.Name, `192\.0\.2\.7\s+seven\.test\s+sept\.test`} {
					if !regexp.MustCompile(want).MatchString(hosts) {
						x.Errorf("/etc/hosts has no line %s:\n%s", want, hosts)
					}
				}
			},
		},
		{
			Name: "dnsPolicy None with dnsConfig", Fields: each("spec.", "dnsPolicy", "dnsConfig"),
			Pod:    "{dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.53], searches: [a.test, b.test], options: [{name: ndots, value: '2'}, {name: edns0}]}}",
			Script: "cat /etc/resolv.conf", Look: func(x *X) {
				x.Contains("/etc/resolv.conf", x.Exec("cat /etc/resolv.conf")+"\n", "nameserver 192.0.2.53\n", "search a.test b.test\n", "options ndots:2 edns0\n")
			},
		},
		{
			Name: "dnsPolicy Default is the host's", Fields: each("spec.", "dnsPolicy"), Pod: "dnsPolicy: Default",
			Look: func(x *X) {
				host, err := os.ReadFile("/etc/resolv.conf")
				if err != nil {
					x.Fatalf("%v", err)
				}
				got := x.Exec("cat /etc/resolv.conf")
				for line := range strings.Lines(string(host)) {
					if strings.HasPrefix(line, "nameserver") {
						x.Contains("/etc/resolv.conf", got, strings.TrimSpace(line))
					}
				}
			},
		},
	}
}
