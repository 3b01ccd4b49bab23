package profilesvc

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"refrain.dev/pkg/fault"
)

type metrics struct{ reads, quarantined metric.Int64Counter }

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	meter := provider.Meter("refrain.dev/services/profile")
	reads, err := meter.Int64Counter("refrain_profile_reads_total",
		metric.WithDescription("Reads of profiles and timelines by what became of them."))
	if err != nil {
		return nil, fmt.Errorf("create instrument: %w", err)
	}
	quarantined, err := meter.Int64Counter("refrain_profile_quarantined_total",
		metric.WithDescription("Values that do not have the type that their property or trait is declared with. One that is decided again counts again."))
	if err != nil {
		return nil, fmt.Errorf("create instrument: %w", err)
	}
	return &metrics{reads: reads, quarantined: quarantined}, nil
}

// quarantine counts values by their property or trait; the names are declared ones, so they are a closed set.
func (m *metrics) quarantine(names []string) {
	if m == nil {
		return
	}
	for _, name := range names {
		m.quarantined.Add(context.Background(), 1, metric.WithAttributes(attribute.String("property", name)))
	}
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
