package snapshot

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics are a keeper's instruments; made once.
type metrics struct {
	stage      attribute.KeyValue
	snapshots  metric.Int64Counter
	failures   metric.Int64Counter
	parts      metric.Int64Counter
	mismatches metric.Int64Counter
	rebuilds   metric.Int64Counter
}

func newMetrics(stage string, provider metric.MeterProvider) *metrics {
	m := provider.Meter("refrain.dev/pkg/snapshot")
	count := func(name, what string) metric.Int64Counter {
		c, _ := m.Int64Counter("refrain_stage_"+name, metric.WithDescription(what)) // fails for bad names only
		return c
	}
	return &metrics{
		stage:      attribute.String("stage", stage),
		snapshots:  count("snapshots_total", "snapshots that were built, read back and listed"),
		failures:   count("snapshot_failures_total", "times that building, trimming, comparing or cleaning up failed"),
		parts:      count("audited_parts_total", "parts of snapshots that were compared with the state store"),
		mismatches: count("state_mismatches_total", "parts in which the state store was not what the log led to"),
		rebuilds:   count("rebuilds_total", "shards of the state store that were thrown away to be made again"),
	}
}

func (m *metrics) add(ctx context.Context, c metric.Int64Counter, labels ...attribute.KeyValue) {
	c.Add(ctx, 1, metric.WithAttributes(append(labels, m.stage)...))
}

func (m *metrics) failed(ctx context.Context, what string) {
	m.add(ctx, m.failures, attribute.String("what", what))
}

func (m *metrics) rebuilt(ctx context.Context, cause string) {
	m.add(ctx, m.rebuilds, attribute.String("cause", cause))
}
