package metrics

import (
	"fmt"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"
)

// routeKlog sends what cAdvisor logs through klog, which is global, to the agent's log.
func routeKlog(log zerolog.Logger) { klog.SetLogger(logr.New(klogSink{log: log})) }

// klogSink is a logr.LogSink on zerolog. cAdvisor's information is for its developers: debug here.
type klogSink struct {
	log zerolog.Logger
}

var _ logr.LogSink = klogSink{}

func (s klogSink) Init(logr.RuntimeInfo) {}

// Enabled keeps klog from formatting what would be dropped.
func (s klogSink) Enabled(level int) bool {
	return level <= 1 && s.log.GetLevel() <= zerolog.DebugLevel
}

func (s klogSink) Info(_ int, msg string, pairs ...any) { fields(s.log.Debug(), pairs).Msg(msg) }

func (s klogSink) Error(err error, msg string, pairs ...any) {
	fields(s.log.Warn().Err(err), pairs).Msg(msg)
}

func (s klogSink) WithName(name string) logr.LogSink {
	return klogSink{log: s.log.With().Str("library", name).Logger()}
}

func (s klogSink) WithValues(pairs ...any) logr.LogSink {
	c := s.log.With()
	for i := 0; i+1 < len(pairs); i += 2 {
		c = c.Interface(fmt.Sprint(pairs[i]), pairs[i+1])
	}
	return klogSink{log: c.Logger()}
}

func fields(e *zerolog.Event, pairs []any) *zerolog.Event {
	for i := 0; i+1 < len(pairs); i += 2 {
		e = e.Interface(fmt.Sprint(pairs[i]), pairs[i+1])
	}
	return e
}
