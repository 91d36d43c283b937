//go:build !nokube

package kube

import (
	"time"

	"github.com/rs/zerolog"
)

// complaintEvery is how often one trouble that lasts is told to people; in between it is for debugging.
const complaintEvery = 5 * time.Minute

// complaint is a trouble that is tried again and again, such as a link that is down for days. It belongs to one goroutine.
type complaint struct{ said time.Time }

// event is where the trouble is logged this time.
func (c *complaint) event(log zerolog.Logger) *zerolog.Event {
	if !c.said.IsZero() && time.Since(c.said) < complaintEvery {
		return log.Debug()
	}
	c.said = time.Now()
	return log.Warn()
}

// over says so, when there was trouble.
func (c *complaint) over(log zerolog.Logger) {
	if !c.said.IsZero() {
		c.said = time.Time{}
		log.Info().Msg("the API server answers again")
	}
}
