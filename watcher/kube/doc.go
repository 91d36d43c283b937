// Package kube is API-server mode: the agent as a node of a cluster.
//
// It is a source of pods like a manifest directory (list and watch of what is bound to this node, with the ConfigMaps,
// Secrets and tokens that those pods name), and it tells the API server how node and pods are. The pod manager does not
// know of it. What it needs of the rest of the agent comes in as plain functions (Host), what it offers are plain methods
// of Node; main connects them.
//
//	certificates (certs*.go) -> clients (client.go) -> node, lease (node*.go, lease.go)
//	                                                -> pods, status, objects, events
//	                                                -> reviews for the server's door (auth.go)
//
// Nothing here waits for the API server at the start: everything that needs it retries in the background, with jitter,
// until it answers, and keeps working on what it last knew.
//
// Built with the tag nokube, none of it is in the binary, and --kubeconfig says so.
package kube
