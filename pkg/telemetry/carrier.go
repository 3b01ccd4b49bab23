package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const traceparentKey = "traceparent"

// Traceparent is the W3C traceparent of ctx's span, empty when there is none or it is not sampled.
func Traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceparentKey]
}

// Parent returns ctx with the remote span that traceparent names; ctx itself if it names none.
func Parent(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparentKey: traceparent})
}

// Link returns a link to the span that traceparent names; false if it names none.
func Link(ctx context.Context, traceparent string) (trace.Link, bool) {
	bare := trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	sc := trace.SpanContextFromContext(Parent(bare, traceparent))
	return trace.Link{SpanContext: sc}, sc.IsValid()
}

// Propagator is what reads and writes trace context in headers everywhere in Refrain.
func Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }
