package server

import (
	"net/http"
	"strings"

	"edgepod.dev/agent/manifests"
)

// key is the pod that a request names. A pod of a file may also be called as its mirror pod is in a cluster: by its own
// name with the node's behind it.
func (s *Server) key(r *http.Request) manifests.Key {
	k := manifests.Key{Namespace: r.PathValue("namespace"), Name: r.PathValue("pod")}
	if _, there := s.Board.Get(k); there {
		return k
	}
	if name, mirror := strings.CutSuffix(k.Name, "-"+s.NodeName); mirror {
		file := manifests.Key{Namespace: k.Namespace, Name: name}
		if e, there := s.Board.Get(file); there && e.Pod != nil && e.Pod.Document != nil {
			return file
		}
	}
	return k
}
