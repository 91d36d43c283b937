// Package pause holds the program that keeps a pod's namespaces alive, as bytes to be written where a container can run
// them, so that no registry is needed for it.
//
// The program is a static ELF file of half a kilobyte, written in assembly (pause_GOARCH.S, built by ./build and
// committed): the Go runtime would cost each pod a megabyte and five threads for a process that sleeps. It blocks SIGINT,
// SIGTERM and SIGCHLD and waits for them:
//
//	SIGCHLD          ──▶ reap every ended child; as PID 1 of a shared PID namespace it is the parent of all orphans
//	SIGTERM, SIGINT  ──▶ exit 0; as PID 1 the kernel would otherwise ignore them
package pause
