package stage

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"refrain.dev/pkg/telemetry"
)

// startSpan opens the span of one input if its event is sampled, and lets what follows from the input be
// its child.
func (p *partition) startSpan(ctx context.Context, in *Input) trace.Span {
	if in.Traceparent == "" {
		return noop.Span{}
	}
	return p.span(telemetry.Parent(ctx, in.Traceparent), in)
}

// startLinked opens a new trace for an input that has none, with links to the traces that led to it.
func (p *partition) startLinked(ctx context.Context, in *Input, causes []string) trace.Span {
	var links []trace.Link
	for _, tp := range causes {
		if link, ok := telemetry.Link(ctx, tp); ok {
			links = append(links, link)
		}
	}
	return p.span(ctx, in, trace.WithNewRoot(), trace.WithLinks(links...))
}

// span opens a span and lets what follows from the input be its child.
func (p *partition) span(ctx context.Context, in *Input, opts ...trace.SpanStartOption) trace.Span {
	ctx, span := p.tracer.Start(ctx, p.cfg.Spec.Name+".decide", append(opts,
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", in.Name),
			attribute.Int("messaging.destination.partition.id", p.number)))...)
	if tp := telemetry.Traceparent(ctx); tp != "" {
		in.Traceparent = tp
	}
	return span
}
