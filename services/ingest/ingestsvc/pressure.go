package ingestsvc

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// sampler looks at how full the streams are in the background, so that requests are turned away without
// asking.
type sampler struct {
	log        gauges
	generation log.Generation
	clock      clock.Clock
	// liveAt and bulkAt are the shares of a stream at which a lane is closed.
	liveAt, bulkAt float64
	every          time.Duration
	metrics        *metrics
	logger         *slog.Logger
	streams        *streams

	live, bulk atomic.Pointer[overload.RefusedError]
}

// reopens is how much emptier a stream has to be for a closed lane to be opened again.
const reopens = 0.05

// Full implements pressure.
func (s *sampler) Full(lane string) *overload.RefusedError {
	if lane == log.LaneBulk {
		return s.bulk.Load()
	}
	return s.live.Load()
}

// run samples until ctx ends; sampled is called after each one that could be taken.
func (s *sampler) run(ctx context.Context, sampled func()) error {
	for {
		if s.sample(ctx) {
			sampled()
		}
		if err := clock.Sleep(ctx, s.clock, s.every); err != nil {
			return nil //nolint:nilerr // told to stop
		}
	}
}

// sample looks once; false means that something could not be read: then the last word stands.
func (s *sampler) sample(ctx context.Context) bool {
	fullness, subject, err := s.fullest(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.logger.WarnContext(ctx, "cannot look at the log's fullness", telemetry.KeyError, err)
		}
		return false
	}
	s.metrics.sampled(ctx, fullness)
	for _, lane := range []struct {
		name string
		at   float64
		now  *atomic.Pointer[overload.RefusedError]
	}{{log.LaneLive, s.liveAt, &s.live}, {log.LaneBulk, s.bulkAt, &s.bulk}} {
		closed := lane.now.Load() != nil
		closes := fullness >= lane.at || closed && fullness >= lane.at-reopens
		if closes != closed {
			s.logger.WarnContext(ctx, "pressure changed", "lane", lane.name, "refusing", closes, "stream", subject, "fullness", fullness)
		}
		if !closes {
			lane.now.Store(nil)
			continue
		}
		lane.now.Store(fullAt(subject, fullness))
	}
	return true
}

func fullAt(subject string, fullness float64) *overload.RefusedError {
	return &overload.RefusedError{
		Reason: overload.StreamFull, After: 10 * time.Second,
		Why: fmt.Sprintf("the stream of %s is %.0f %% full", subject, fullness*100),
	}
}

// fullest returns the fullest stream and a subject of it. Streams couple: one that is full stops every
// chain in it. Those that drop their oldest messages never are.
func (s *sampler) fullest(ctx context.Context) (share float64, subject string, err error) {
	for _, name := range s.generation.Coupled() {
		usage, err := s.log.Usage(ctx, name)
		if err != nil {
			return 0, "", fmt.Errorf("read the usage of %s: %w", name, err)
		}
		s.streams.found(ctx, name, usage)
		if usage.MaxBytes == 0 {
			continue
		}
		if used := float64(usage.Bytes) / float64(usage.MaxBytes); used > share {
			share, subject = used, name
		}
	}
	return share, subject, nil
}
