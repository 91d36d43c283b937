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
// On the way up the init containers go one by one, a sidecar until it has started, then the main containers together; on
// the way down the main containers end first, then the sidecars in reverse, all within one grace period. An instance:
//
//	start ──▶ postStart hook ──▶ startup probe ──▶ liveness and readiness probes ──▶ preStop hook ──▶ stop ──▶ seal
//	          fails: stop        fails: stop       liveness fails: stop
//
// What hooks and probes have found out is kept with the instance (Mark), so that the next agent goes on from there.
//
// Nothing of a new UID starts before the old one is fully gone. A step (one call of the Runtime) runs beside its worker
// and is joined by it; when it ends the worker looks again, so nothing here waits by polling.
package podmgr
