package telemetry_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"

	"refrain.dev/pkg/telemetry"
)

func TestTraceContextSurvivesAsText(t *testing.T) {
	ctx, span := trace.NewTracerProvider().Tracer("t").Start(t.Context(), "s")
	defer span.End()
	text := telemetry.Traceparent(ctx)
	if got := telemetry.Traceparent(telemetry.Parent(t.Context(), text)); text == "" || got != text {
		t.Fatalf("got %q from %q", got, text)
	}
	if link, ok := telemetry.Link(t.Context(), text); !ok || link.SpanContext.SpanID() != span.SpanContext().SpanID() {
		t.Fatalf("the link is to %v", link)
	}
}

func TestUnsampledAndBrokenContextIsNoText(t *testing.T) {
	ctx, span := trace.NewTracerProvider(trace.WithSampler(trace.NeverSample())).Tracer("t").Start(t.Context(), "s")
	defer span.End()
	for name, ctx := range map[string]context.Context{
		"unsampled": ctx, "none": t.Context(), "garbage": telemetry.Parent(t.Context(), "00-zz-1-01"),
	} {
		if got := telemetry.Traceparent(ctx); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestOffIsOff(t *testing.T) {
	tel, err := telemetry.Start(t.Context(), telemetry.Config{Service: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if telemetry.Enabled(tel.Tracer, tel.Meter) || tel.Metrics != nil {
		t.Error("something is on although nothing was configured")
	}
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPrometheusServesInstruments(t *testing.T) {
	tel, err := telemetry.Start(t.Context(), telemetry.Config{Service: "s", Prometheus: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tel.Stop(t.Context()) }()
	counter, _ := tel.Meter.Meter("m").Int64Counter("refrain_test_things")
	counter.Add(t.Context(), 3)
	rec := httptest.NewRecorder()
	tel.Metrics.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "refrain_test_things_total") {
		t.Fatalf("no instrument in:\n%.600s", rec.Body.String())
	}
}

func TestLogLinesNameTheirTrace(t *testing.T) {
	var out strings.Builder
	ctx, span := trace.NewTracerProvider().Tracer("t").Start(t.Context(), "s")
	defer span.End()
	telemetry.NewLogger(&out, slog.LevelInfo).With("a", 1).InfoContext(ctx, "m")
	if !strings.Contains(out.String(), span.SpanContext().TraceID().String()) {
		t.Fatalf("no trace id in %s", out.String())
	}
}
