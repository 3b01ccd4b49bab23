package ingestsvc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// metrics are the instruments of ingest. Labels come from closed sets: via, reason, lane, ok.
type metrics struct {
	accepted, refusals, overloads metric.Int64Counter
	batch                         metric.Int64Histogram
	append                        metric.Float64Histogram
	fullness, lag                 metric.Float64Gauge
}

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	m := provider.Meter("refrain.dev/services/ingest")
	out := &metrics{}
	var errs [7]error
	out.accepted, errs[0] = m.Int64Counter("refrain_ingest_accepted_events", metric.WithDescription("Events stored."))
	out.refusals, errs[1] = m.Int64Counter("refrain_ingest_refused_events", metric.WithDescription("Items refused and kept as dead letters."))
	out.overloads, errs[2] = m.Int64Counter("refrain_ingest_overloaded_requests", metric.WithDescription("Requests of which not everything was taken under load."))
	out.batch, errs[3] = m.Int64Histogram("refrain_ingest_append_events", metric.WithDescription("Events in one append."),
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
	out.append, errs[4] = m.Float64Histogram("refrain_ingest_append_seconds", metric.WithUnit("s"), metric.WithDescription("Time until an append is acknowledged."), telemetry.Seconds())
	out.fullness, errs[5] = m.Float64Gauge("refrain_ingest_stream_fullness_ratio", metric.WithDescription("Share of the fullest stream that is used."))
	out.lag, errs[6] = m.Float64Gauge("refrain_ingest_lag_seconds", metric.WithUnit("s"), metric.WithDescription("Age of the oldest live event stored here that is not through all stages."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fault.As(fault.Internal, fmt.Errorf("create instruments: %w", err))
	}
	return out, nil
}

func via(name string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("via", name))
}

func (m *metrics) took(ctx context.Context, s submission) {
	n := int64(0)
	for _, it := range s.items {
		if !it.skipped() {
			n++
		}
	}
	m.accepted.Add(ctx, n, via(s.via))
}

func (m *metrics) refused(ctx context.Context, entrance string) {
	m.refusals.Add(ctx, 1, via(entrance))
}

func (m *metrics) overloaded(ctx context.Context, entrance string, why overload.Reason) {
	m.overloads.Add(ctx, 1, metric.WithAttributes(attribute.String("via", entrance), attribute.String("reason", string(why))))
}

func (m *metrics) appended(ctx context.Context, lane string, events int, took time.Duration, err error) {
	labels := metric.WithAttributes(attribute.String("lane", lane), attribute.Bool("ok", err == nil))
	m.batch.Record(ctx, int64(events), labels)
	m.append.Record(ctx, took.Seconds(), labels)
}

func (m *metrics) sampled(ctx context.Context, fullness float64) { m.fullness.Record(ctx, fullness) }

func (m *metrics) lags(ctx context.Context, lag time.Duration) { m.lag.Record(ctx, lag.Seconds()) }
