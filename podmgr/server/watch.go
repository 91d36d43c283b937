package server

import (
	"encoding/json"
	"net/http"

	"k8s.io/apimachinery/pkg/watch"
)

// watchEvent is Kubernetes' encoding of one change.
type watchEvent struct {
	Type   watch.EventType `json:"type"`
	Object any             `json:"object"`
}

// watchList streams what changes in a list, one JSON object per line, until the client leaves or the agent ends. It begins
// with everything there is, as ADDED. Several changes of one thing between two looks are one.
func watchList[K comparable, T any](
	w http.ResponseWriter, r *http.Request, changed func() <-chan struct{}, list func() []T,
	key func(T) K, same func(a, b T) bool, object func(T) any,
) {
	w.Header().Set("Content-Type", "application/json")
	flush := http.NewResponseController(w).Flush
	encode := json.NewEncoder(w).Encode
	shown := map[K]T{}
	for {
		next := changed() // before reading, so that no change is missed
		now := list()
		here := make(map[K]bool, len(now))
		for _, t := range now {
			k := key(t)
			here[k] = true
			old, known := shown[k]
			if known && same(old, t) {
				continue
			}
			event := watchEvent{Type: watch.Modified, Object: object(t)}
			if !known {
				event.Type = watch.Added
			}
			if encode(event) != nil {
				return
			}
			shown[k] = t
		}
		for k, t := range shown {
			if !here[k] {
				if encode(watchEvent{Type: watch.Deleted, Object: object(t)}) != nil {
					return
				}
				delete(shown, k)
			}
		}
		if flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-next:
		}
	}
}
