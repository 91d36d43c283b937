// Package e2e tests the real agent on real containerd: every sentence of the README that promises something.
//
//	go test ./contrib/e2e                        # both engines; needs root, runc, CNI plugins, containerd, busybox, …
//	go test ./contrib/e2e -engines embedded      # one engine
//	AGENT_E2E_KEEP=1 go test ./contrib/e2e -run …  # keep the directories of a failed test
//
// contrib/test installs what it needs.
package e2e
