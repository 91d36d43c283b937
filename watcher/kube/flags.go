package kube

import (
	"slices"
	"strings"
	"time"
)

// Flag is a flag of API-server mode as plain data, for main to build its command line from. The type of Default is its
// type: bool, string, int64, time.Duration or []string.
type Flag struct {
	Name    string
	Short   string // another name
	Default any
	Usage   string // what is in `backquotes` names the value
}

// Flags are those of the kubelet, with its names and meanings, that standalone mode does not have.
func Flags() []Flag {
	text := func(name, value, usage string) Flag { return Flag{name, "", value, usage} }
	list := func(name, usage string, values ...string) Flag { return Flag{name, "", values, usage} }
	return []Flag{
		text("kubeconfig", "", "`FILE` that says how the API server is reached; with it this is a node of a cluster"),
		text("bootstrap-kubeconfig", "", "`FILE` with a token that may ask for the first client certificate; --kubeconfig is written"),
		text("cert-dir", "", "`DIR` of the certificates that the agent is given (default: pki below --root)"),
		{"rotate-certificates", "", true, "ask for a new client certificate before the old one ends; only those that the agent got by itself"},
		{"rotate-server-certificates", "", false, "ask the API server for the certificate of --port, and renew it"},
		{"register-node", "", true, "make the Node object when it is not there"},
		{"node-status-update-frequency", "", 10 * time.Second, "how often the node's status is looked at; changes are sent at once"},
		{"node-status-report-frequency", "", 5 * time.Minute, "how often the node's status is sent without a change"},
		list("node-labels", "`KEY=VALUE` labels of the Node that is made"),
		list("register-with-taints", "`KEY=VALUE:EFFECT` taints of the Node that is made"),
		list("node-ip", "`ADDRESS` of this node, one for each IP family (default: that of the default route)"),
		list("cluster-dns", "`ADDRESS` of the cluster's DNS, for pods with dnsPolicy ClusterFirst"),
		text("cluster-domain", "", "`DOMAIN` of the cluster, searched by the same pods"),
		text("hairpin-mode", "hairpin-veth", "how a pod reaches itself through the agent's own bridge: hairpin-veth, promiscuous-bridge or none"),
		{"serialize-image-pulls", "", false, "pull one image at a time"},
		{"max-pods", "", int64(110), "most pods on this node"},
		text("runtime-cgroups", "", "`CGROUP` that the embedded containerd and its shims would run in; the agent's own is all there is, so it must be empty or --agent-cgroups"),
		{"agent-cgroups", "kubelet-cgroups", "", "`CGROUP` that the agent moves itself into at its start (default: it stays where it is)"},
		list("system-reserved", "`RESOURCE=QUANTITY` kept for the system: cpu, memory, ephemeral-storage, pid"),
		list("kube-reserved", "`RESOURCE=QUANTITY` kept for the agent"),
		list("eviction-hard", "`SIGNAL<QUANTITY` at which pods are evicted: memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available",
			"memory.available<100Mi", "nodefs.available<10%", "nodefs.inodesFree<5%", "imagefs.available<15%", "imagefs.inodesFree<5%"),
		{"eviction-pressure-transition-period", "", 5 * time.Minute, "how long a node is under pressure after the pressure is gone"},
		{"authentication-token-webhook", "", false, "ask the API server whose a bearer token is"},
		text("authorization-mode", "", "Webhook asks the API server who may do what over TLS, AlwaysAllow lets everybody who is known (default: Webhook with --kubeconfig; --access counts as well)"),
		{"offline-pods", "", true, "keep the pods of the API server below --root, so that they run again after a reboot without it"},
		text("offline-key-file", "", "`FILE` with the key that encrypts what --offline-pods keeps (default: not encrypted, mode 0600)"),
	}
}

// Values gives the values of flags; *cli.Context is one.
type Values interface {
	Bool(name string) bool
	String(name string) string
	Int64(name string) int64
	Duration(name string) time.Duration
	StringSlice(name string) []string
}

// List gives the values of a list without empty ones: with "--eviction-hard=", as with the kubelet, there is none.
func List(v Values, name string) []string {
	return slices.DeleteFunc(slices.Clone(v.StringSlice(name)), func(text string) bool { return strings.TrimSpace(text) == "" })
}
