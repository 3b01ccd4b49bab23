package decisionsvc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/telemetry"
)

// metrics are the instruments of the query side; the stage has its own.
type metrics struct {
	answers  metric.Int64Counter
	degraded metric.Int64Counter
	latency  metric.Float64Histogram
	dropped  metric.Int64Counter
}

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	meter := provider.Meter("refrain.dev/services/decision")
	m, errs := &metrics{}, make([]error, 4)
	m.answers, errs[0] = meter.Int64Counter("refrain_decision_answers_total", metric.WithDescription("answered queries"))
	m.degraded, errs[1] = meter.Int64Counter("refrain_decision_degraded_total", metric.WithDescription("answers that rest on less than they should, by reason"))
	m.latency, errs[2] = meter.Float64Histogram("refrain_decision_answer_seconds", metric.WithDescription("time to answer a query"), metric.WithUnit("s"), telemetry.Seconds())
	m.dropped, errs[3] = meter.Int64Counter("refrain_decision_log_dropped_total", metric.WithDescription("answers that the decision log did not take"))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	return m, nil
}

func (m *metrics) answered(ctx context.Context, took time.Duration, degraded []*reasonv1.Reason) {
	m.answers.Add(ctx, 1)
	m.latency.Record(ctx, took.Seconds())
	for _, r := range degraded {
		m.degraded.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", r.GetCode().String())))
	}
}
