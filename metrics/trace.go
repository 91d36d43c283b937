package metrics

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	v1 "k8s.io/api/core/v1"
)

// Tracer sends the start of each pod as a trace: what took how long, from when the pod was first seen to when the last of
// its containers was started. Everything is read off the board when it is known; nothing is instrumented.
//
//	pod start ──┬── sandbox            until the network was there
//	            ├── init container x   from its start to its end
//	            └── container y        from the sandbox (or the last init container) to its start; pulls are in here
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// NewTracer sends to an OTLP endpoint over HTTP, such as http://collector:4318. Nothing is sent before a pod starts, and
// an endpoint that does not answer costs the traces only. An endpoint without a path is the collector's, whose traces go to
// /v1/traces (OTEL_EXPORTER_OTLP_ENDPOINT of the OTLP exporter's specification).
func NewTracer(ctx context.Context, endpoint, node, version string) (*Tracer, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("reading the OTLP endpoint %q: %w", endpoint, err)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("opening the OTLP endpoint %s: %w", endpoint, err)
	}
	p := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(256)),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "agent"), attribute.String("service.version", version), attribute.String("k8s.node.name", node),
		)),
	)
	return &Tracer{provider: p, tracer: p.Tracer("edgepod.dev/agent/metrics")}, nil
}

// OpenTracer returns a Tracer for endpoint and how to close it; without an endpoint a nil one, which sends nothing.
func OpenTracer(ctx context.Context, endpoint, node, version string, log zerolog.Logger) (t *Tracer, closeIt func(), err error) {
	if endpoint == "" {
		return nil, func() {}, nil
	}
	if t, err = NewTracer(ctx, endpoint, node, version); err != nil {
		return nil, nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn().Err(err).Msg("sending traces") }))
	return t, func() {
		const goodbye = 2 * time.Second
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
		if err := t.Close(last); err != nil {
			log.Warn().Err(err).Msg("ending traces")
		}
	}, nil
}

// Close sends what is left, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last traces: %w", err)
	}
	return nil
}

// podStarted sends the trace of a pod whose containers have all been started.
func (t *Tracer) podStarted(p *Pod, seen, done time.Time) {
	if t == nil {
		return
	}
	ctx, root := t.tracer.Start(context.Background(), "pod start", trace.WithTimestamp(seen), trace.WithAttributes(
		attribute.String("k8s.namespace.name", p.Key.Namespace), attribute.String("k8s.pod.name", p.Key.Name), attribute.String("k8s.pod.uid", p.uid()),
	))
	span := func(name string, from, to time.Time, failed string, attributes ...attribute.KeyValue) {
		if from.IsZero() || to.IsZero() || to.Before(from) {
			return
		}
		_, s := t.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...))
		if failed != "" {
			s.SetStatus(codes.Error, failed)
		}
		s.End(trace.WithTimestamp(to))
	}
	ready := seen
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodReadyToStartContainers && c.Status == v1.ConditionTrue {
			ready = c.LastTransitionTime.Time
			span("sandbox", seen, ready, "")
		}
	}
	eachContainer(p.Status, func(kind containerKind, c *v1.ContainerStatus) {
		attributes := []attribute.KeyValue{
			attribute.String("k8s.container.name", c.Name), attribute.String("container.image.name", c.Image),
			attribute.Int("k8s.container.restart_count", int(c.RestartCount)),
		}
		end := c.State.Terminated
		switch {
		case kind == kindInit && end != nil:
			failed := ""
			if end.ExitCode != 0 {
				failed = end.Reason
			}
			span("init container "+c.Name, end.StartedAt.Time, end.FinishedAt.Time, failed, attributes...)
			if end.FinishedAt.After(ready) {
				ready = end.FinishedAt.Time
			}
		case kind == kindRegular:
			span("container "+c.Name, ready, startedAt(c), "", attributes...)
		}
	})
	root.End(trace.WithTimestamp(done))
}
