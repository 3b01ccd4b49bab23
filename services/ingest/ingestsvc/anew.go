package ingestsvc

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// streams knows which streams of EVENTS are not those that events were acknowledged in: nothing more is taken for
// them, because what stands in them now is read by nobody, until the process is started again.
type streams struct {
	generation log.Generation
	halted     func(partition int)
	logger     *slog.Logger

	mu     sync.Mutex
	lost   map[string]error  // by stream, why
	newest map[string]uint64 // by stream, the greatest sequence that was acknowledged
}

func newStreams(g log.Generation, halted func(partition int), logger *slog.Logger) *streams {
	return &streams{generation: g, halted: halted, logger: logger, lost: map[string]error{}, newest: map[string]uint64{}}
}

// why is why nothing is taken for a subject; nil if something is.
func (s *streams) why(subject string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost[s.generation.StreamOf(subject)]
	if lost == nil {
		return nil
	}
	return unavailable(fmt.Errorf("store events: %w: %w", lost, &overload.RefusedError{
		Reason: overload.StreamLost, Why: lost.Error(), After: lostAfter,
	}))
}

// lostAfter is when to come again for a stream that is lost: an operator has to put that right.
const lostAfter = 30 * time.Second

// found takes in how the stream of a subject was found.
func (s *streams) found(ctx context.Context, subject string, usage log.Usage) {
	if err := s.generation.Anew(subject, usage); err != nil {
		s.lose(ctx, subject, err)
	}
}

// before is the greatest sequence of a subject's stream that was acknowledged by now.
func (s *streams) before(subject string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest[s.generation.StreamOf(subject)]
}

// stored takes in that something was stored that was sent after before was acknowledged. An error says that it stands
// where something stood already.
func (s *streams) stored(ctx context.Context, subject string, before, sequence uint64) error {
	stream := s.generation.StreamOf(subject)
	if stream == "" {
		return nil
	}
	if sequence <= before {
		s.lose(ctx, subject, fmt.Errorf("%w: message %d came after %d had been acknowledged", log.ErrLogLostData, sequence, before))
		return s.why(subject)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest[stream] = max(s.newest[stream], sequence)
	return nil
}

// lose notes, once, that a stream has lost data, and says so of its partitions.
func (s *streams) lose(ctx context.Context, subject string, why error) {
	lane, partition, ok := strings.Cut(strings.TrimPrefix(subject, log.Lane("")), ".")
	n, err := strconv.Atoi(partition)
	if !ok || err != nil || subject != log.Subject(log.Lane(lane), n) {
		return // no stream of EVENTS: who reads it halts
	}
	stream := s.generation.StreamOf(subject)
	s.mu.Lock()
	known := s.lost[stream] != nil
	if !known {
		s.lost[stream] = why
	}
	s.mu.Unlock()
	if known {
		return
	}
	s.logger.ErrorContext(ctx, "nothing more is taken for a stream", "stream", stream, telemetry.KeyError, why)
	for p := n % s.generation.Streams; p < s.generation.Partitions; p += s.generation.Streams {
		s.halted(p)
	}
}
