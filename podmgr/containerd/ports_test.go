package containerd

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"edgepod.dev/agent/manifests"
	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func port(host int32, protocol v1.Protocol, ip string) v1.ContainerPort {
	return v1.ContainerPort{HostPort: host, ContainerPort: 80, Protocol: protocol, HostIP: ip}
}

// porter is a pod whose only container has these ports.
func porter(name string, ports ...v1.ContainerPort) *manifests.Pod {
	p := &v1.Pod{}
	p.Namespace, p.Name, p.UID = "default", name, types.UID(name)
	p.Spec.Containers = []v1.Container{{Ports: ports}}
	return &manifests.Pod{Object: p}
}

func TestPortsOfAllContainersAreMappedOnce(t *testing.T) {
	p := porter("web", port(8080, v1.ProtocolTCP, ""), port(0, v1.ProtocolTCP, "")).Object
	p.Spec.InitContainers = []v1.Container{
		{Ports: []v1.ContainerPort{port(8080, v1.ProtocolTCP, "127.0.0.1"), port(9090, v1.ProtocolSCTP, "")}},
		{Ports: []v1.ContainerPort{port(8080, v1.ProtocolUDP, "::1")}},
	}
	var got []string
	for _, m := range portMappings(p) {
		got = append(got, portText(m))
	}
	if diff := cmp.Diff([]string{"8080/tcp", "9090/sctp", "8080/udp on ::1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnePodAtATimeHoldsAPort(t *testing.T) {
	for name, test := range map[string]struct {
		held, wanted v1.ContainerPort
		clash        string
	}{
		"the same":              {port(80, v1.ProtocolTCP, ""), port(80, v1.ProtocolTCP, ""), "host port 80/tcp is held by pod default/holder"},
		"another protocol":      {port(80, v1.ProtocolTCP, ""), port(80, v1.ProtocolUDP, ""), ""},
		"another port":          {port(80, v1.ProtocolTCP, ""), port(81, v1.ProtocolTCP, ""), ""},
		"two addresses":         {port(80, v1.ProtocolTCP, "192.0.2.1"), port(80, v1.ProtocolTCP, "192.0.2.2"), ""},
		"one of all addresses":  {port(80, v1.ProtocolTCP, "0.0.0.0"), port(80, v1.ProtocolTCP, "192.0.2.2"), "host port 80/tcp on 192.0.2.2 is held by pod default/holder"},
		"all of IPv6":           {port(80, v1.ProtocolTCP, "fd00::1"), port(80, v1.ProtocolTCP, "::"), "host port 80/tcp is held by pod default/holder"},
		"the same IPv6 address": {port(80, v1.ProtocolTCP, "fd00::1"), port(80, v1.ProtocolTCP, "fd00::1"), "host port 80/tcp on fd00::1 is held by pod default/holder"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPortBook()
			if fresh, clash, _ := b.take(porter("holder", test.held), false); !fresh || clash != "" {
				t.Fatalf("the first has a clash %q", clash)
			}
			late := porter("late", test.wanted, port(4711, v1.ProtocolTCP, ""))
			_, clash, freed := b.take(late, false)
			if clash != test.clash {
				t.Errorf("clash %q, want %q", clash, test.clash)
			}
			if clash == "" {
				return
			}
			if _, clash, _ := b.take(porter("third", port(4711, v1.ProtocolTCP, "")), false); clash != "" {
				t.Errorf("one that waits holds a port: %s", clash)
			}
			b.free("third")
			b.free("holder")
			<-freed
			if _, clash, _ := b.take(late, false); clash != "" {
				t.Errorf("the port is not free: %s", clash)
			}
			if fresh, _, _ := b.take(late, false); fresh {
				t.Error("it took its ports twice")
			}
		})
	}
}

func TestAProcessThatListensIsFound(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	u, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	tcp, udp := int32(l.Addr().(*net.TCPAddr).Port), int32(u.LocalAddr().(*net.UDPAddr).Port) //nolint:gosec // ports
	for _, test := range []struct {
		protocol, ip string
		port         int32
		want         bool
	}{
		{"tcp", "", tcp, true},
		{"tcp", "127.0.0.1", tcp, true},
		{"tcp", "127.0.0.2", tcp, false},
		{"tcp", "", 1, false},
		{"udp", "::1", udp, true},
		{"udp", "", udp, true},
		{"sctp", "", tcp, false},
	} {
		inode := listening("/proc/thread-self/net", test.protocol, test.ip, test.port)
		if (inode != "") != test.want {
			t.Errorf("%s %s %d: inode %q", test.protocol, test.ip, test.port, inode)
		}
		if inode == "" {
			continue
		}
		if who := socketHolder("/proc", inode); !strings.HasSuffix(who, fmt.Sprintf("(%d)", os.Getpid())) {
			t.Errorf("it is held by %q", who)
		}
	}
}

func TestThePodRangesAreReadAndConfigured(t *testing.T) {
	for text, want := range map[string]string{
		"10.87.0.0/16":                  "10.87.0.0/16",
		"10.87.3.4/16, fd00:87::/64":    "10.87.0.0/16 fd00:87::/64",
		"fd00:87::/64,10.87.0.0/16":     "fd00:87::/64 10.87.0.0/16",
		"10.87.0.0/16,10.88.0.0/16":     "error",
		"10.87.0.0":                     "error",
		"":                              "error",
		"10.1.0.0/16,fd00::/64,::1/128": "error",
	} {
		cidrs, err := parseCIDRs(text)
		var got []string
		for _, c := range cidrs {
			got = append(got, c.String())
		}
		if s := strings.Join(got, " "); err == nil && s != want || (err != nil) != (want == "error") {
			t.Errorf("%q: %q, error %v", text, s, err)
		}
	}
	both := []netip.Prefix{netip.MustParsePrefix("10.87.0.0/16"), netip.MustParsePrefix("fd00:87::/64")}
	var conf struct {
		Plugins []struct {
			Type string
			IPAM struct {
				Ranges [][]struct{ Subnet string }
				Routes []struct{ Dst string }
			}
		}
	}
	if err := json.Unmarshal(ownConf(Config{Bridge: "b"}, both, chain{true, true}), &conf); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(conf)
	if want := "{[{bridge {[[{10.87.0.0/16}] [{fd00:87::/64}]] [{0.0.0.0/0} {::/0}]}} {portmap {[] []}} {bandwidth {[] []}}]}"; text != want {
		t.Errorf("%s, want %s", text, want)
	}
}
