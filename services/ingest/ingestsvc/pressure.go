package ingestsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/telemetry"
)

// lagProbes is how many partitions' lag is looked at per sample; the rest wait their turn.
const lagProbes = 4

// sampler looks at streams and lag in the background, so that requests are turned away without asking.
type sampler struct {
	log        gauges
	generation log.Generation
	clock      clock.Clock
	fullAt     float64
	maxLag     time.Duration
	every      time.Duration
	metrics    *metrics
	logger     *slog.Logger

	now atomic.Pointer[load]
	// lags by partition, used by one goroutine.
	lags []time.Duration
	turn int
}

// Load implements pressure.
func (s *sampler) Load() load {
	if l := s.now.Load(); l != nil {
		return *l
	}
	return load{}
}

// run samples until ctx ends; sampled is called after each one that could be taken.
func (s *sampler) run(ctx context.Context, sampled func()) error {
	s.lags = make([]time.Duration, s.generation.Partitions)
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
	if err == nil {
		err = s.probeLag(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.logger.WarnContext(ctx, "cannot look at the log's fullness and lag", telemetry.KeyError, err)
		}
		return false
	}
	lag, partition := s.worstLag()
	s.metrics.sampled(ctx, fullness, lag)
	next := load{}
	switch {
	case fullness >= s.fullAt:
		next = load{full: true, retryAfter: 10 * time.Second, why: fmt.Sprintf("the stream of %s is %.0f %% full", subject, fullness*100)}
	case lag > s.maxLag:
		next = load{retryAfter: 2 * time.Second, why: fmt.Sprintf("partition %d lags by %s", partition, lag.Round(time.Second))}
	}
	if before := s.Load(); before.refuses() != next.refuses() {
		s.logger.WarnContext(ctx, "pressure changed", "refusing", next.refuses(), telemetry.KeyReason, next.why)
	}
	s.now.Store(&next)
	return true
}

// fullest returns the fullest stream and a subject of it. Streams couple: one that is full stops every
// chain in it.
func (s *sampler) fullest(ctx context.Context) (share float64, subject string, err error) {
	prefixes := []string{log.Lane(log.LaneLive), log.DecisionLog, log.DeadLetters("ingest")}
	for _, spec := range log.Stages() {
		prefixes = append(prefixes, spec.Chain)
	}
	prefixes = append(prefixes, log.Box("profile"))
	for _, prefix := range prefixes {
		for n := range s.generation.Streams {
			name := log.Subject(prefix, n)
			usage, err := s.log.Usage(ctx, name)
			if err != nil {
				return 0, "", fmt.Errorf("read the usage of %s: %w", name, err)
			}
			if usage.MaxBytes == 0 {
				continue
			}
			if used := float64(usage.Bytes) / float64(usage.MaxBytes); used > share {
				share, subject = used, name
			}
		}
	}
	return share, subject, nil
}

// probeLag looks at the next few partitions: how old is the first live message that the profile stage
// has not covered.
func (s *sampler) probeLag(ctx context.Context) error {
	for range min(lagProbes, len(s.lags)) {
		p := s.turn % len(s.lags)
		s.turn++
		lag, err := s.lagOf(ctx, p)
		if err != nil {
			return err
		}
		s.lags[p] = lag
	}
	return nil
}

func (s *sampler) lagOf(ctx context.Context, partition int) (time.Duration, error) {
	last, err := s.log.Last(ctx, log.Subject(log.Stage("profile").Chain, partition))
	if err != nil {
		return 0, fmt.Errorf("read the last record of partition %d: %w", partition, err)
	}
	record := &stagev1.Record{}
	if err := record.UnmarshalVT(last.Data); err != nil {
		return 0, fmt.Errorf("decode the last record of partition %d: %w", partition, err)
	}
	covered := uint64(0)
	for _, c := range record.GetCovers() {
		if c.GetInput() == log.Lane(log.LaneLive) {
			covered = c.GetSequence()
		}
	}
	next, err := s.log.Next(ctx, log.Subject(log.Lane(log.LaneLive), partition), covered)
	if errors.Is(err, log.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the next event of partition %d: %w", partition, err)
	}
	return max(0, s.clock.Now().Sub(next.Time)), nil
}

func (s *sampler) worstLag() (lag time.Duration, partition int) {
	for p, l := range s.lags {
		if l > lag {
			lag, partition = l, p
		}
	}
	return lag, partition
}
