package manifests

import (
	"fmt"
	"strings"
)

// parseEnvFile returns the value of a key in an environment file, empty when there is none. The form is the kubelet's
// (pkg/kubelet/util/env), a small part of what a shell reads: NAME='value', with the quotes, over several lines if need
// be, no escapes, comments after the value or on a line of their own; the first of two equal names counts. Lines before
// the key have to be in that form too. Errors never show what a line holds.
func parseEnvFile(data []byte, key string) (string, error) {
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(strings.TrimSuffix(lines[i], "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		bad := func(what string) error {
			return fmt.Errorf("invalid environment variable format at line %d: %s", i+1, what)
		}
		name, rest, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", bad("missing '='")
		case strings.TrimRight(name, " \t") == "":
			return "", bad("empty variable name")
		case strings.TrimRight(name, " \t") != name:
			return "", bad("whitespace before '=' is not allowed")
		}
		if strings.TrimLeft(rest, " \t") != rest { // to a shell, NAME= 'value' is an empty NAME
			if name == key {
				return "", nil
			}
			continue
		}
		value, ok := strings.CutPrefix(rest, "'")
		if !ok {
			return "", bad("value must be enclosed in single quotes")
		}
		first := i
		text, after, closed := strings.Cut(value, "'")
		for !closed {
			if i++; i == len(lines) {
				return "", fmt.Errorf("invalid environment variable format starting at line %d: unclosed single quote", first+1)
			}
			var more string
			more, after, closed = strings.Cut(strings.TrimSuffix(lines[i], "\r"), "'")
			text += "\n" + more
		}
		if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
			return "", bad("unexpected content after closing quote")
		}
		if name == key {
			return text, nil
		}
	}
	return "", nil
}
