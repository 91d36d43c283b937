package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
)

// Exit codes of the client commands.
const (
	ExitFailed      = 1
	ExitUsage       = 2
	ExitUnreachable = 3
	ExitNotFound    = 4
)

// ExitCode is the exit code for the error of a command; 0 for nil.
func ExitCode(err error) int {
	var code interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return code.ExitCode()
	default:
		return ExitFailed
	}
}

// UsageError says that a command was not understood.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// ExitCode is ExitUsage.
func (UsageError) ExitCode() int { return ExitUsage }

// StatusError is an error that the agent answered with.
type StatusError struct {
	Code    int // HTTP status
	Message string
}

func (e *StatusError) Error() string { return e.Message }

// ExitCode is ExitNotFound for what does not exist.
func (e *StatusError) ExitCode() int {
	if e.Code == http.StatusNotFound {
		return ExitNotFound
	}
	return ExitFailed
}

// notFound is kubectl's error for a name that does not exist.
func notFound(kind, name string) error {
	return &StatusError{Code: http.StatusNotFound, Message: fmt.Sprintf("%s %q not found", kind, name)}
}

// UnreachableError says that nobody answers on the agent's socket or address.
type UnreachableError struct {
	Socket string
	Err    error
}

func (e *UnreachableError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("cannot reach the agent at %s: permission denied: use sudo", e.Socket)
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("cannot reach the agent at %s: is it running? start it with \"systemctl start agent\" or \"agent run\"", e.Socket)
	default:
		return fmt.Sprintf("cannot reach the agent at %s: %v", e.Socket, e.Err)
	}
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// ExitCode is ExitUnreachable.
func (*UnreachableError) ExitCode() int { return ExitUnreachable }

// ExitError says that a command in a container ended with a code other than 0, which becomes this program's.
type ExitError struct{ Code int }

func (e *ExitError) Error() string {
	return fmt.Sprintf("command terminated with exit code %d", e.Code)
}

// ExitCode is the command's.
func (e *ExitError) ExitCode() int { return e.Code }

// exitInterrupted is what a shell shows for a program that SIGINT ended.
const exitInterrupted = 130

// errInterrupted says that the user ended a command.
var errInterrupted = interruptedError{}

type interruptedError struct{}

func (interruptedError) Error() string { return "interrupted" }

// ExitCode is that of SIGINT.
func (interruptedError) ExitCode() int { return exitInterrupted }
