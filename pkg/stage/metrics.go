package stage

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"refrain.dev/pkg/telemetry"
)

// metrics are a stage's instruments; made once.
type metrics struct {
	stage       metric.MeasurementOption
	name        string
	inputs      metric.Int64Counter
	records     metric.Int64Counter
	cells       metric.Int64Counter
	deadLetters metric.Int64Counter
	repairs     metric.Int64Counter
	copied      metric.Int64Counter
	restores    metric.Int64Counter
	storeErrors metric.Int64Counter
	damaged     metric.Int64Counter
	halts       metric.Int64Counter
	badCatalogs metric.Int64Counter
	refusals    metric.Int64Counter
	append      metric.Float64Histogram
}

func newMetrics(stage string, provider metric.MeterProvider) *metrics {
	m := provider.Meter("refrain.dev/pkg/stage")
	count := func(name, what string) metric.Int64Counter {
		c, _ := m.Int64Counter("refrain_stage_"+name, metric.WithDescription(what)) // fails for bad names only
		return c
	}
	h, _ := m.Float64Histogram("refrain_stage_append_seconds", metric.WithUnit("s"), metric.WithDescription("time of one append to the chain"),
		telemetry.Seconds())
	return &metrics{
		stage: metric.WithAttributeSet(attribute.NewSet(attribute.String("stage", stage))), name: stage,
		inputs: count("inputs_total", "inputs decided"), records: count("records_total", "records appended"),
		cells: count("cells_total", "cells written"), deadLetters: count("dead_letters_total", "inputs given up"),
		repairs:  count("repairs_total", "times the state store was not where the chain was"),
		restores: count("restores_total", "snapshots restored into the state store"),
		copied:   count("recovered_records_total", "records copied into the state store"), storeErrors: count("store_errors_total", "failed writes to the state store, repeated"),
		damaged:     count("damaged_total", "times the states of a partition were thrown away because something else was in the state store"),
		halts:       count("halts_total", "partitions that must not go on"),
		refusals:    count("clock_refusals_total", "times a partition was not owned because of a clock"),
		badCatalogs: count("bad_catalogs_total", "catalogs that failed many inputs right after they were applied"), append: h,
	}
}

// watchLag reports, per partition, for how long the oldest input at hand has been stored; 0 while none is.
func (s *Stage) watchLag() (stop func()) {
	meter := s.ports.Meter.Meter("refrain.dev/pkg/stage")
	g, _ := meter.Float64ObservableGauge("refrain_stage_lag_seconds", metric.WithUnit("s"), // fails for bad names only
		metric.WithDescription("age in the log of the oldest input that a partition has at hand and not decided"))
	h, _ := meter.Int64ObservableGauge("refrain_stage_halted_partitions", metric.WithDescription("partitions that this process has halted"))
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(h, int64(s.halts()), metric.WithAttributes(attribute.String("stage", s.Name())))
		for _, p := range s.owned() {
			lag := 0.0
			if at := p.waiting.Load(); at != 0 {
				lag = max(0, time.Since(time.Unix(0, at)).Seconds())
			}
			o.ObserveFloat64(g, lag, metric.WithAttributes(attribute.String("stage", s.Name()), attribute.Int("partition", p.number)))
		}
		return nil
	}, g, h)
	if err != nil {
		return func() {}
	}
	return func() { _ = reg.Unregister() }
}

func (m *metrics) restored(ctx context.Context) { m.restores.Add(ctx, 1, m.stage) }

func (m *metrics) batch(ctx context.Context, b *batch) {
	m.inputs.Add(ctx, int64(b.inputs), m.stage)
	m.cells.Add(ctx, int64(len(b.cells)), m.stage)
}

func (m *metrics) appending(ctx context.Context) func() {
	started := time.Now()
	return func() {
		m.append.Record(ctx, time.Since(started).Seconds(), m.stage)
		m.records.Add(ctx, 1, m.stage)
	}
}

func (m *metrics) deadLetter(ctx context.Context, code string) {
	m.deadLetters.Add(ctx, 1, metric.WithAttributes(attribute.String("stage", m.name), attribute.String("code", code)))
}

func (m *metrics) repair(ctx context.Context)     { m.repairs.Add(ctx, 1, m.stage) }
func (m *metrics) storeError(ctx context.Context) { m.storeErrors.Add(ctx, 1, m.stage) }
func (m *metrics) reset(ctx context.Context)      { m.damaged.Add(ctx, 1, m.stage) }
func (m *metrics) badCatalog(ctx context.Context) { m.badCatalogs.Add(ctx, 1, m.stage) }
func (m *metrics) halted(ctx context.Context)     { m.halts.Add(ctx, 1, m.stage) }

// untimely counts that a partition is not owned because of a clock: skew (this machine's) or ahead (the chain's).
func (m *metrics) untimely(ctx context.Context, reason string) {
	m.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("stage", m.name), attribute.String("reason", reason)))
}

func (m *metrics) recovered(ctx context.Context, n int) {
	m.copied.Add(ctx, int64(n), m.stage)
}
