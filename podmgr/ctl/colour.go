package ctl

import (
	"io"
	"os"
	"slices"
	"strings"
)

// Colours of a terminal.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// painter returns what colours the states in a table, or nil: colours are for people before a terminal, and not for those
// who have set NO_COLOR (no-color.org).
func painter(w io.Writer) func(string) string {
	if os.Getenv("NO_COLOR") != "" || !isTerminal(w) {
		return nil
	}
	return colourState
}

func colourState(cell string) string {
	colour := ""
	state := strings.TrimPrefix(cell, "Init:")
	switch {
	case slices.Contains([]string{"Running", "Completed", "Succeeded"}, state):
		colour = green
	case slices.Contains([]string{"Pending", "ContainerCreating", "PodInitializing", "Terminating", "Warning", "NotReady"}, state):
		colour = yellow
	case strings.HasSuffix(state, "BackOff"), strings.HasPrefix(state, "Err"), strings.HasSuffix(state, "Error"), strings.HasPrefix(state, "ExitCode:"),
		slices.Contains([]string{"Failed", "OOMKilled", "Evicted", "InvalidImageName", "ContainerStatusUnknown", "Unknown", "fail"}, state):
		colour = red
	}
	if colour == "" {
		return cell
	}
	return colour + cell + plain
}
