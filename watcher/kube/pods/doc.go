// Package pods is the pod side of API-server mode: the pods that an API server has bound to this node, as a source of
// wants, and what becomes of them, as reports to the API server.
//
//	list+watch spec.nodeName ──▶ podSet ──┐
//	watches of single objects ─▶ objects ─┤
//	TokenRequest ──────────────▶ tokens ──┼──▶ step: admit, bind ──▶ manifests.Snapshot ──▶ pod manager
//	GET claims and volumes ────▶ claims ──┤                                                     │
//	watch of services ─────────▶ services ┘                                                   board
//	                                                                                            │
//	PATCH pods/status, final DELETE ◀── reporter ◀──┬───────────────────────────────────────────┤
//	create, delete mirror pods ◀─────── mirrors ◀───┘                                           │
//	create, patch events ◀───────────── eventSink ◀─────────────────────────────────────────────┘
//
// Levels, not edges: everything that comes in only means "look again", and each look compares the whole. Nothing is ever
// removed because something could not be read: a list that fails changes nothing, a pod that a later list no longer has is
// asked for by name before it goes, and an object that cannot be read keeps the value it had.
package pods
