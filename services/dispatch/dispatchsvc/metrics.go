package dispatchsvc

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/telemetry"
)

// metrics are the instruments of the calls. Labels are channels, statuses and reason codes: closed sets.
type metrics struct {
	results metric.Int64Counter
	reasons metric.Int64Counter
	call    metric.Float64Histogram
	fresh   metric.Float64Histogram
	age     metric.Float64Histogram
}

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	meter := provider.Meter("refrain.dev/services/dispatch")
	m := &metrics{}
	for _, c := range []struct {
		into       *metric.Int64Counter
		name, what string
	}{
		{&m.results, "refrain_dispatch_results_total", "Results of send attempts and of pacing, by channel and status."},
		{&m.reasons, "refrain_dispatch_reasons_total", "Why attempts were not accepted, by channel and reason."},
	} {
		counter, err := meter.Int64Counter(c.name, metric.WithDescription(c.what))
		if err != nil {
			return nil, fmt.Errorf("make counter %s: %w", c.name, err)
		}
		*c.into = counter
	}
	for _, h := range []struct {
		into       *metric.Float64Histogram
		name, what string
	}{
		{&m.call, "refrain_dispatch_call_seconds", "How long provider calls take, by channel and status."},
		{&m.fresh, "refrain_dispatch_fresh_view_seconds", "How long a send waits for a fresh view of the profile."},
		{&m.age, "refrain_dispatch_view_age_seconds", "How old the view of the profile is when a provider call begins."},
	} {
		histogram, err := meter.Float64Histogram(h.name, metric.WithDescription(h.what), metric.WithUnit("s"), telemetry.Seconds())
		if err != nil {
			return nil, fmt.Errorf("make histogram %s: %w", h.name, err)
		}
		*h.into = histogram
	}
	return m, nil
}

func (m *metrics) result(ctx context.Context, channel string, r delivery.Result) {
	at := attribute.String(telemetry.KeyChannel, channel)
	m.results.Add(ctx, 1, metric.WithAttributes(at, attribute.String("status", r.Status.String())))
	for _, reason := range r.Reasons {
		m.reasons.Add(ctx, 1, metric.WithAttributes(at, attribute.String(telemetry.KeyReason, reason.GetCode().String())))
	}
}

func (m *metrics) called(ctx context.Context, channel string, r delivery.Result, took time.Duration) {
	m.call.Record(ctx, took.Seconds(), metric.WithAttributes(
		attribute.String(telemetry.KeyChannel, channel), attribute.String("status", r.Status.String())))
}
