// Package health answers "is it well": checks of containers, and of the agent itself.
//
// The agent itself is watched with a Check (All, Beat, Watchdog). Containers are watched with probes:
//
//	Try      one question (HTTP, TCP, GRPC, Command): Success, Warning, Failure, or Unknown when it could not be asked
//	Probe    asks on schedule and counts answers up to the thresholds; tells a Verdict when that changes
//	Group    the probes of one container instance, startup before liveness and readiness; it lives as long as that instance
//
//	            startup succeeds              liveness fails
//	starting ────────────────────▶ started ──────────────────▶ not alive   (Alive = false: the container is to be killed)
//	   │                           readiness turns Ready on and off
//	   └── startup fails ────────────────────────────────────▶ not alive
//
// Semantics are the kubelet's (pkg/kubelet/prober, pkg/probe of Kubernetes 1.37). Where we differ on purpose, the comment
// at the place says so: a body that never ends is a failure (the kubelet discards that answer, so it never fails), the
// tries of one tick share one timeout, a machine that slept or was stopped restarts the count of failures, and closing
// leaves few sockets in TIME_WAIT, while the server still reads a clean end.
package health
