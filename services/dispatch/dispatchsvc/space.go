package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// errFull says that SENDS is too full to promise a report.
var errFull = errors.New("the log is nearly full")

// space knows whether there is room in SENDS: an INTENT is declared only if its report can follow. Ingest
// stops long before, so this is the last line.
type space struct {
	usage UsageReader
	every time.Duration
	clock clock.Clock

	mu   sync.Mutex
	seen map[string]seenUsage
}

type seenUsage struct {
	at   time.Duration // by Elapsed
	full bool
}

func newSpace(usage UsageReader, c clock.Clock) *space {
	return &space{usage: usage, every: time.Second, clock: c, seen: map[string]seenUsage{}}
}

// check asks the broker at most once a second per partition.
func (s *space) check(ctx context.Context, partition int) error {
	subject := log.Subject(log.Stage(name).Chain, partition)
	s.mu.Lock()
	seen, ok := s.seen[subject]
	s.mu.Unlock()
	if !ok || s.clock.Elapsed()-seen.at > s.every {
		ctx, cancel := s.clock.Within(ctx, aroundCall)
		defer cancel()
		u, err := s.usage.Usage(ctx, subject)
		if err != nil {
			return fmt.Errorf("read usage of SENDS: %w", err)
		}
		seen = seenUsage{at: s.clock.Elapsed(), full: u.MaxBytes > 0 && u.Bytes > u.MaxBytes/100*95}
		s.mu.Lock()
		s.seen[subject] = seen
		s.mu.Unlock()
	}
	if seen.full {
		return errFull
	}
	return nil
}
