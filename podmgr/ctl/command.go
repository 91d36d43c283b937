package ctl

import (
	"context"
	"time"
)

// Command is a command of the client as plain data, for main to build its command line from.
type Command struct {
	Name    string
	Aliases []string
	Usage   string
	Args    string // what stands behind the flags, such as "POD [CONTAINER]"
	Flags   []Flag
	// Commands are below this one, which then does nothing itself.
	Commands []Command
	// Raw means that arguments are handed on unread, flags too; Hidden that help does not show it.
	Raw, Hidden bool
	Run         func(ctx context.Context, e Env, in Input) error
}

// Flag is a flag of a command. The type of Default is its type: bool, string, int64, time.Duration or []string.
type Flag struct {
	Name, Short string
	Default     any
	Usage       string // what is in `backquotes` names the value
}

// Values gives the values of flags; *cli.Context is one.
type Values interface {
	Bool(name string) bool
	String(name string) string
	Int64(name string) int64
	Duration(name string) time.Duration
	StringSlice(name string) []string
}

// Input is what the user gave a command.
type Input struct {
	Values
	Args []string
}

// Env is what commands run in.
type Env struct {
	Streams
	Client  *Client
	Version Version
	// Check has the settings of `agent run`, as far as the client knows them.
	Check CheckOptions
}

// one is the one argument that a command takes.
func (in Input) one(what string) (string, error) {
	if len(in.Args) != 1 {
		return "", UsageError("this command wants " + what)
	}
	return in.Args[0], nil
}

// behind are the arguments without a leading pod and the "--" before a command.
func (in Input) behind() (pod string, rest []string) {
	args := in.Args
	if len(args) == 0 {
		return "", nil
	}
	pod, rest = args[0], args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	return pod, rest
}

// Flags that several commands have.
var (
	flagNamespace  = Flag{"namespace", "n", "", "`NAMESPACE` to look in (default: default)"}
	flagAll        = Flag{"all-namespaces", "A", false, "look in all namespaces"}
	flagSelector   = Flag{"selector", "l", "", "only what has these `LABELS`"}
	flagContainer  = Flag{"container", "c", "", "`CONTAINER` of the pod"}
	flagNoHeaders  = Flag{"no-headers", "", false, "leave the header line out"}
	flagWatch      = Flag{"watch", "w", false, "go on and show changes"}
	flagFiles      = Flag{"filename", "f", []string(nil), "`FILE`, directory, or - for standard input; may be given more than once"}
	flagManifests  = Flag{"manifests", "", "", "manifest `DIR` (default: the running agent's)"}
	flagDryRun     = Flag{"dry-run", "", false, "only say what would be done"}
	flagOutput     = Flag{"output", "o", "", "wide, json, yaml, name or jsonpath=TEMPLATE"}
	flagOutputData = Flag{"output", "o", "", "json or yaml"}
)
