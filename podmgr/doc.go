// Package podmgr answers "make it so": it brings the pods that the sources want into being on a Runtime and keeps them so.
//
//	Source ──Snapshot──▶ Manager ──want──▶ worker (one per namespace/name)
//	                                        │  observe ──▶ plan ──▶ steps ──▶ observe …
//	                                        ▼
//	                                      Board ──▶ server, metrics, status report
package podmgr
