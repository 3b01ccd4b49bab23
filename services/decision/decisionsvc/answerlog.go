package decisionsvc

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

const (
	logBatch  = 256
	logWithin = 2 * time.Second
)

// answerLog appends answered queries to the decision log, in batches and without anybody waiting. What
// does not fit, or is not stored in time, is dropped and counted: no contact depends on it.
type answerLog struct {
	waiting chan answer
	added   chan struct{} // signalled by add
	clock   clock.Clock
	broker  Publisher
	metrics *metrics
	logger  *slog.Logger
}

type answer struct {
	partition int
	line      *decisionv1.DecisionLogged
}

type answerLogConfig struct {
	buffer int
	broker Publisher
	clock  clock.Clock
	logger *slog.Logger
}

func newAnswerLog(cfg answerLogConfig, m *metrics) *answerLog {
	return &answerLog{
		waiting: make(chan answer, cfg.buffer), added: make(chan struct{}, 1), clock: cfg.clock, broker: cfg.broker, metrics: m, logger: cfg.logger,
	}
}

// add never blocks.
func (l *answerLog) add(ctx context.Context, partition int, line *decisionv1.DecisionLogged) {
	select {
	case l.waiting <- answer{partition: partition, line: line}:
	default:
		l.metrics.dropped.Add(ctx, 1)
	}
	select {
	case l.added <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends, then what is left.
func (l *answerLog) run(ctx context.Context) {
	for {
		select {
		case first := <-l.waiting:
			l.publish(context.WithoutCancel(ctx), l.gather(first))
			continue
		default:
		}
		if _, err := l.clock.Wait(ctx, clock.Forever, l.added); err != nil && len(l.waiting) == 0 {
			return
		}
	}
}

// gather takes what waits already, by partition; it does not linger.
func (l *answerLog) gather(first answer) map[int]*stagev1.Arrivals {
	out := map[int]*stagev1.Arrivals{}
	for next, n := first, 1; ; n++ {
		if raw, err := next.line.MarshalVT(); err == nil {
			batch := out[next.partition]
			if batch == nil {
				batch = &stagev1.Arrivals{}
				out[next.partition] = batch
			}
			batch.Items = append(batch.Items, &stagev1.Arrival{At: next.line.GetAt(), Item: &stagev1.Arrival_Payload{Payload: raw}})
		}
		if n == logBatch {
			return out
		}
		select {
		case next = <-l.waiting:
		default:
			return out
		}
	}
}

func (l *answerLog) publish(ctx context.Context, batches map[int]*stagev1.Arrivals) {
	ctx, cancel := l.clock.Within(ctx, logWithin)
	defer cancel()
	for _, partition := range slices.Sorted(maps.Keys(batches)) {
		batch := batches[partition]
		raw, err := batch.MarshalVT()
		if err == nil {
			_, err = l.broker.Publish(ctx, log.Subject(log.DecisionLog, partition), raw)
		}
		if err != nil {
			l.metrics.dropped.Add(ctx, int64(len(batch.GetItems())))
			l.logger.Warn("decision log did not take answers", "partition", partition, "answers", len(batch.GetItems()), "error", err)
		}
	}
}
