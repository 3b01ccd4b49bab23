package profilesvc

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"refrain.dev/pkg/fault"
)

type metrics struct{ reads metric.Int64Counter }

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	reads, err := provider.Meter("refrain.dev/services/profile").Int64Counter("refrain_profile_reads_total",
		metric.WithDescription("Reads of profiles and timelines by what became of them."))
	if err != nil {
		return nil, fmt.Errorf("create instrument: %w", err)
	}
	return &metrics{reads: reads}, nil
}

// read counts one read; method and result are closed sets.
func (m *metrics) read(ctx context.Context, method string, err error) {
	result := "failed"
	switch {
	case err == nil:
		result = "ok"
	case isStale(err):
		result = "stale"
	case fault.Of(err) == fault.NotFound:
		result = "not_found"
	}
	m.reads.Add(ctx, 1, metric.WithAttributes(attribute.String("method", method), attribute.String("result", result)))
}
