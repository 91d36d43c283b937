// Package ctl is the other end of the agent's socket: a client, and what `agent get`, `describe`, `logs`, `images`,
// `validate` and `version` print. Where kubectl has the command, it looks and behaves like kubectl.
//
// Each function does one command: it takes the client, the standard streams and its options as plain data, and returns
// an error for which ExitCode says how the process ends:
//
//	0  it was done
//	1  it failed; for validate: there are problems
//	2  the command was not understood
//	3  the agent cannot be reached
//	4  what was named does not exist
package ctl
