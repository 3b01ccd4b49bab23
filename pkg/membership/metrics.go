package membership

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics are the instruments of a replica.
type metrics struct {
	members, partitions metric.Int64Gauge
	moves, lapses       metric.Int64Counter
}

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	meter := provider.Meter("refrain.dev/pkg/membership")
	m := &metrics{}
	var err error
	if m.members, err = meter.Int64Gauge("refrain_membership_members",
		metric.WithDescription("Replicas that the partitions are shared among, as this one sees it.")); err != nil {
		return nil, fmt.Errorf("make gauge: %w", err)
	}
	if m.partitions, err = meter.Int64Gauge("refrain_membership_partitions",
		metric.WithDescription("Partitions that this replica is to own.")); err != nil {
		return nil, fmt.Errorf("make gauge: %w", err)
	}
	if m.moves, err = meter.Int64Counter("refrain_membership_moves_total",
		metric.WithDescription("Partitions that this replica was told to take or to give back, by direction.")); err != nil {
		return nil, fmt.Errorf("make counter: %w", err)
	}
	if m.lapses, err = meter.Int64Counter("refrain_membership_lapses_total",
		metric.WithDescription("Times that this replica could not renew its lease before it ran out.")); err != nil {
		return nil, fmt.Errorf("make counter: %w", err)
	}
	return m, nil
}

func (m *metrics) observe(ctx context.Context, out outcome) {
	if !out.changed {
		return
	}
	m.members.Record(ctx, int64(len(out.members)))
	m.partitions.Record(ctx, int64(len(out.owned)))
	m.moves.Add(ctx, int64(out.acquired), metric.WithAttributes(attribute.String("direction", "acquired")))
	m.moves.Add(ctx, int64(out.given), metric.WithAttributes(attribute.String("direction", "given_back")))
	if out.lost {
		m.lapses.Add(ctx, 1)
	}
}

// ranges writes sorted numbers as settings have them, such as 0-3,7.
func ranges(numbers []int) string {
	var b strings.Builder
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(numbers[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(numbers[j]))
		}
		i = j + 1
	}
	return b.String()
}
