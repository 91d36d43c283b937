package server

import (
	"fmt"
	"net/http"
)

// restart ends the containers of a pod so that they are started again.
func (s *Server) restart(w http.ResponseWriter, r *http.Request) {
	k := s.key(r)
	e, ok := s.Board.Get(k)
	switch {
	case s.Restart == nil:
		writeError(w, notHere("restarting"))
		return
	case !ok || e.Pod == nil:
		writeError(w, notFound(fmt.Sprintf("pod %q not found in namespace %q", k.Name, k.Namespace)))
		return
	}
	if err := s.Restart(r.Context(), k); err != nil {
		writeError(w, err)
		return
	}
	s.audit(r, k, "").Msg("restarting")
	w.WriteHeader(http.StatusAccepted)
}
