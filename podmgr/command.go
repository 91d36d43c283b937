package podmgr

import (
	"fmt"
	"io"
)

// Command is something to run inside a container that runs already.
type Command struct {
	Args []string
	// TTY gives the command a terminal; its output then all comes by Stdout.
	TTY bool
	// Stdin may be nil. Reading from it must end soon after the command has: who gave it closes it.
	Stdin io.Reader
	// Stdout and Stderr may be nil. One that fails ends the command: nobody listens any more.
	Stdout, Stderr io.Writer
	// Resize brings the sizes of the user's terminal; nil without one.
	Resize <-chan TerminalSize
}

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct{ Width, Height uint16 }

// ExitError says that a command ran and ended with a code other than 0.
type ExitError struct{ Code int }

func (e *ExitError) Error() string {
	return fmt.Sprintf("command terminated with exit code %d", e.Code)
}
