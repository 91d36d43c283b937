// Package containerd answers "on what": it implements podmgr.Runtime on containerd, embedded in this process or behind a
// socket. It is the only importer of containerd.
//
// What exists of a pod, and where it is kept:
//
//	<root>/pods/<uid>/pod.json          made first, removed last: names what is left of a UID (Observed.Remains)
//	<root>/pods/<uid>/volumes/<name>    emptyDir volumes
//	<state>/pods/<uid>/                 one life of the sandbox: net ipc uts (pinned namespaces), network.json, hosts,
//	                                    resolv.conf, shm, termination messages; gone after a reboot
//	<state>/containers/<id>/            stdout and stderr FIFOs, "started"; gone after a reboot
//	containerd container <id>           labels for people and tools, one extension (record) for us
//	containerd sandbox <id>             lets containers of the pod share its shim without starting one (embedded only)
//	lease pod-<uid>                     keeps snapshots and content from containerd's garbage collector
//
// IDs are hex SHA-256 of (pod UID, container name, attempt), so creating twice is creating once.
//
// The life of one container, as Observe sees it:
//
//	record, no task, no "started", this boot          Created
//	record, task created                              Created
//	record, task running                              Running
//	record, task stopped                              Exited
//	record, no task, "started" or an earlier boot     Unknown
//	record sealed                                     Exited, from the record
package containerd
