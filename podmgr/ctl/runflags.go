package ctl

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// ClientFlags say how the running agent is reached.
func ClientFlags() []Flag {
	return []Flag{
		{"socket", "", DefaultSocket, "`PATH` of the running agent's socket"},
		{"server", "", "", "`URL` of an agent on another machine, such as https://host:10250"},
		{"token", "", "", "`TOKEN` for --server"},
		{"certificate-authority", "", "", "`FILE` with whom to trust as --server: its own agent.crt will do"},
		{"client-certificate", "", "", "`FILE` with a client certificate for --server"},
		{"client-key", "", "", "`FILE` with its key"},
		{"insecure-skip-tls-verify", "", false, "trust any certificate of --server"},
	}
}

// RunFlags are the flags of `agent run` that every build has, as plain data; each is also a key of the configuration file
// and an environment variable.
func RunFlags() []Flag {
	text := func(name, value, usage string) Flag { return Flag{name, "", value, usage} }
	list := func(name, usage string, values ...string) Flag { return Flag{name, "", values, usage} }
	return []Flag{
		text("config", "/etc/agent/config.yaml", "`FILE` with any of these flags as keys; flags and environment win"),
		list("manifests", "`DIR` with pod manifests; may be given more than once", "/etc/agent/manifests"),
		text("images", "/etc/agent/images", "`DIR` whose image archives are imported"),
		text("root", "/var/lib/agent", "`DIR` for what must survive a reboot"),
		text("state", "/run/agent", "`DIR` for what must not; a tmpfs"),
		text("pod-logs", "/var/log/pods", "`DIR` for the logs of containers"),
		text("containerd", "embedded", "embedded, or the `SOCKET` of a containerd that runs already"),
		text("shim", "", "`PATH` of containerd-shim-runc-v2 for the embedded containerd (default: beside this program)"),
		text("runtime", "", "`PATH` of the OCI runtime (default: runc)"),
		text("shim-group", "pod", "which containers share a shim process: those of a pod, or all of the node"),
		text("pod-infra-container-image", "", "`IMAGE` of the pause container (default: built in)"),
		text("cgroup-driver", "auto", "auto, cgroupfs or systemd"),
		text("cgroup-root", "", "parent `CGROUP` of kubepods"),
		list("cni-bin-dir", "`DIR` with CNI plugins", "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"),
		text("cni-conf-dir", "/etc/agent/cni", "`DIR` with CNI configuration; without one there the agent brings its own"),
		text("bridge", "agent0", "`NAME` of the bridge in the agent's own CNI configuration"),
		text("pod-cidr", "10.87.0.0/16", "pod addresses in the agent's own CNI configuration"),
		list("registry-config", "`DIR` with hosts of registries in containerd's certs.d layout, and config.json with credentials", "/etc/agent/certs.d", "/etc/containerd/certs.d"),
		text("hostname-override", "", "`NAME` of this node (default: the host name)"),
		list("runtime-class", "`NAME=RUNTIME[:BINARY]`: what runs pods of that runtimeClassName, such as kata=io.containerd.kata.v2 or crun=io.containerd.runc.v2:/usr/bin/crun"),
		list("allowed-unsafe-sysctls", "`SYSCTL`s, or patterns ending in *, that pods may set beside the safe ones"),
		{"pod-max-pids", "", int64(1024), "most processes of one pod; 0: no limit"},
		{"max-container-restart-period", "", 5 * time.Minute, "the longest wait before a container that fails again and again is started anew (CrashLoopBackOff)"},
		{"mass-removal-grace", "", 30 * time.Second, "how long the removal of most manifests at once waits"},
		{"container-log-max-size", "", int64(10 << 20), "`BYTES` at which a container's log file is rotated"},
		{"container-log-max-files", "", int64(5), "log files kept for a container"},
		text("address", "0.0.0.0", "`ADDRESS` that the API is served on over TLS, when a client CA or a token file is given"),
		{"port", "", int64(10250), "`PORT` of --address; 0: none"},
		text("client-ca-file", "", "`FILE` with the authorities of client certificates: CN is the user, O are groups"),
		text("token-auth-file", "", "`FILE` with lines of token,user,uid,\"group1,group2\""),
		text("tls-cert-file", "", "`FILE` with the server's certificate (default: the agent makes one below --root)"),
		text("tls-private-key-file", "", "`FILE` with its key"),
		list("access", "`NAME=ACTION+ACTION` or group:NAME=…: who may do what over TLS; actions are read, logs, metrics, exec, attach, portforward, admin, and * for all"),
		text("otlp-endpoint", "", "`URL` that traces of pod starts are sent to by OTLP over HTTP, such as http://collector:4318"),
		{"housekeeping-interval", "", 10 * time.Second, "how often cAdvisor measures containers; 0: never"},
		text("log-level", "info", "debug, info, warn or error"),
		text("log-format", "console", "console or json"),
	}
}

// SettingItems are the values of one key of the configuration file, as the command line would have them: a list has several,
// and so has a map, such as {memory.available: 100Mi}, as NAME=VALUE.
func SettingItems(value any) (out []string) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			out = append(out, settingText(item))
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, name+"="+settingText(v[name]))
		}
	default:
		out = append(out, settingText(v))
	}
	return out
}

// settingText is one value. A number came by way of JSON, and no flag takes 1.048576e+07.
func settingText(v any) string {
	if n, ok := v.(float64); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
