package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
)

// Metrics collects, and answers over HTTP. It works as soon as New returns; Run keeps it up to date.
type Metrics struct {
	config      Config
	started     time.Time
	recorder    *Recorder
	disks       *disks
	housekeeper *housekeeper // nil when cAdvisor is off

	agent, resource, probes *prometheus.Registry
	cadvisor                []prometheus.Collector
}

// New returns the collectors, with r as the Recorder that the rest of the agent tells what happens.
func New(c Config, r *Recorder) (*Metrics, error) {
	if c.Images != nil {
		c.Images = (&imageCache{ask: c.Images}).sum
	}
	m := &Metrics{config: c, started: time.Now(), recorder: r, disks: newDisks(c)}

	m.agent = prometheus.NewRegistry()
	m.agent.MustRegister(r.collectors()...)
	m.agent.MustRegister(
		&boardCollector{config: c, disk: m.disks.latest.Load}, &labelCollector{pods: c.Pods},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.probes = prometheus.NewRegistry()
	m.probes.MustRegister(r.probes.total, r.probes.duration)

	if c.Housekeeping <= 0 {
		return m, nil
	}
	var err error
	if m.housekeeper, err = newHousekeeper(c, m.disks); err != nil {
		return nil, fmt.Errorf("starting cAdvisor: %w", err)
	}
	m.cadvisor = cadvisorCollectors(m.housekeeper.machine, m.housekeeper.inside, m.housekeeper.latest.Load)
	m.resource = prometheus.NewRegistry()
	m.resource.MustRegister(&resourceCollector{summary: m.Summary, log: c.Log})
	return m, nil
}

// Run samples and counts until ctx ends.
func (m *Metrics) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	f := follower{recorder: m.recorder, tracer: m.config.Tracer, since: m.started, pods: map[string]*followed{}}
	g.Go(func() error { return f.run(ctx, m.config.Pods, m.config.Changed) })
	if m.housekeeper != nil {
		g.Go(func() error { return m.disks.run(ctx) })
		g.Go(func() error { return m.housekeeper.run(ctx) })
	}
	return g.Wait()
}
