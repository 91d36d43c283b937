//go:build !nokube

package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"edgepod.dev/agent/watcher/kube/pods"
)

// newPods prepares the source of pods and their reports.
func newPods(n *Node) (*pods.Pods, error) {
	c := pods.Config{
		Client: n.clients.kube, NodeName: n.host.Name, Server: n.clients.host, Log: n.log,
		Node: n.Object,
		Entries: func() (out []pods.Entry) {
			for _, e := range n.board.Entries() {
				out = append(out, pods.Entry(e))
			}
			return out
		},
		Events: func() (out []pods.Event) {
			for _, e := range n.board.Events() {
				out = append(out, pods.Event(e))
			}
			return out
		},
		Changed: n.board.Changed,
		Record:  func(e pods.Event) { n.board.Record(Event(e)) },
		Ready:   n.ready,
		Handlers: func() (names []string) {
			for _, h := range n.host.Handlers() {
				names = append(names, h.Name)
			}
			return names
		},
	}
	if kept := filepath.Join(n.host.Root, "api-pods"); n.cfg.Offline.Keep {
		c.OfflineFile = kept
	} else if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing what --offline-pods kept: %w", err)
	}
	if file := n.cfg.Offline.KeyFile; file != "" {
		key, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading --offline-key-file: %w", err)
		}
		if c.OfflineKey = bytes.TrimSpace(key); len(c.OfflineKey) == 0 {
			return nil, fmt.Errorf("reading --offline-key-file: %s is empty", file)
		}
	}
	return pods.New(c), nil
}

// Pods is the source of the pods that the API server has bound to this node.
func (n *Node) Pods() Source { return n.pods }

// report tells the API server about pods until ctx ends.
func (n *Node) report(ctx context.Context) {
	if err := n.pods.Report(ctx); err != nil && ctx.Err() == nil {
		n.log.Error().Err(err).Msg("reporting pods has ended")
	}
}
