package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Exec runs a command in a container and returns its exit code and the beginning of its combined output. It kills the
// command with everything it started, and returns, soon after ctx ends; then err wraps ctx's error. Any other error means
// that the command could not be run.
type Exec func(ctx context.Context, command []string) (exitCode int, output []byte, err error)

// Command succeeds when command exits with 0.
func Command(exec Exec, command []string) Try {
	return func(ctx context.Context) Result {
		timeout := timeLeft(ctx)
		code, output, err := exec(ctx, command)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return result(Failure, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout))
		case err != nil:
			return result(Unknown, err.Error())
		case code != 0:
			return result(Failure, string(output[:min(len(output), maxMessage+1)]))
		default:
			return Result{Outcome: Success}
		}
	}
}
