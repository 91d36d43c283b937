package server

import (
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"
)

// NewLog returns the agent's log on w; level and format are those of --log-level and --log-format.
func NewLog(level, format string, w *os.File) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("reading --log-level: %w", err)
	}
	switch format {
	case "json":
		return zerolog.New(w).Level(l).With().Timestamp().Logger(), nil
	case "console":
		out := zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != "" || !isTerminal(w)}
		zerolog.TimeFieldFormat = time.RFC3339Nano
		return zerolog.New(out).Level(l).With().Timestamp().Logger(), nil
	}
	return zerolog.Nop(), fmt.Errorf("--log-format %q: want console or json", format)
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
