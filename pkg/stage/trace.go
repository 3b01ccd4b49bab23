package stage

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// startSpan opens the span of one input if its event is sampled, and lets what follows from the input be
// its child.
func (p *partition) startSpan(ctx context.Context, in *Input) trace.Span {
	if in.Traceparent == "" {
		return noop.Span{}
	}
	return p.span(remote(ctx, in.Traceparent), in)
}

// startLinked opens a new trace for an input that has none, with links to the traces that led to it.
func (p *partition) startLinked(ctx context.Context, in *Input, causes []string) trace.Span {
	var links []trace.Link
	for _, tp := range causes {
		if sc := trace.SpanContextFromContext(remote(ctx, tp)); sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc})
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
	if tp := traceparent(ctx); tp != "" {
		in.Traceparent = tp
	}
	return span
}

// remote puts a traceparent into a context as the remote parent.
func remote(ctx context.Context, tp string) context.Context {
	if tp == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": tp})
}

// traceparent is the context's span for the wire; empty if it is not sampled.
func traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c["traceparent"]
}
