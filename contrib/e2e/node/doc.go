// Package node runs the real agent, on a real engine, in directories of its own, and looks at the machine with its own
// eyes: /proc, cgroups, mounts, links, iptables and containerd's socket, never through the agent. The end-to-end tests and
// the benchmarks are built on it.
//
//	New ──▶ Start ──▶ Kill, Stop, Reboot, … ──▶ Start … ──▶ (end of the test) empty, compare, clear away
//
// Many nodes can live on one machine: each has its own bridge, pod network, cgroup root and containerd.
package node

// T is what a node needs of a test: *testing.T, or the benchmark program's own.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
}
