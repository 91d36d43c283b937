// Package podmgr answers "make it so": it brings the pods that the sources want into being on a Runtime and keeps them so.
//
//	Source ──Snapshot──▶ Manager ──want──▶ worker (one per namespace/name)
//	                                        │  observe ──▶ plan ──▶ steps ──▶ observe …
//	                                        ▼
//	                                      Board ──▶ server, metrics, status report
//
// One key goes through these states; each is derived from what Observe sees, none is stored:
//
//	           another UID is left           sandbox ready, image here
//	(nothing) ──────────────▶ going ──▶ (nothing) ──▶ starting ──▶ running ──▶ completed
//	                          ▲  stop, remove, remove sandbox, forget  │           │
//	                          └──────── no longer wanted ──────────────┴───────────┘
//
// Nothing of a new UID starts before the old one is fully gone. A step (one call of the Runtime) runs beside its worker
// and is joined by it; when it ends the worker looks again, so nothing here waits by polling.
package podmgr
