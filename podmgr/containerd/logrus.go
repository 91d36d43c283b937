package containerd

import (
	"io"

	"github.com/containerd/log"
	"github.com/rs/zerolog"
	"github.com/sirupsen/logrus"
)

// routeContainerdLogs sends what containerd's packages log (logrus, a global of theirs) into the agent's log for
// debugging, warnings and worse.
func routeContainerdLogs(l zerolog.Logger) {
	logger := log.L.Logger
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.WarnLevel)
	logger.ReplaceHooks(logrus.LevelHooks{})
	logger.AddHook(logHook{l.With().Str("from", "containerd").Logger()})
}

type logHook struct{ log zerolog.Logger }

func (logHook) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

func (h logHook) Fire(e *logrus.Entry) error {
	// What matters comes back as an error of a call, and is logged there with its pod.
	ev := h.log.Debug().Str("severity", e.Level.String())
	for k, v := range e.Data {
		if err, ok := v.(error); ok {
			ev = ev.AnErr(k, err)
		} else {
			ev = ev.Interface(k, v)
		}
	}
	ev.Msg(e.Message)
	return nil
}
