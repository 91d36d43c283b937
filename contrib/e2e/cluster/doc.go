// Package cluster runs a real Kubernetes control plane (etcd, API server with the Node authorizer and NodeRestriction,
// controller manager, scheduler, metrics-server) and tests the agent as a node of it.
//
//	go test ./contrib/e2e/cluster            # needs what contrib/e2e needs; the first run compiles the control plane
//
// Everything listens on free ports of 127.0.0.1 and keeps its data in a directory of its own. The nodes' address is one
// more address of the loopback link, because a node may not have a loopback address.
package cluster
