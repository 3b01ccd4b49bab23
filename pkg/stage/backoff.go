package stage

import (
	"context"
	"fmt"
	"time"

	"refrain.dev/pkg/clock"
)

// backoff waits longer each time, from 10 ms to 2 s.
type backoff struct {
	clock clock.Clock
	last  time.Duration
}

// backoff begins a row of waits.
func (s *Stage) backoff() backoff { return backoff{clock: s.ports.Clock} }

// reset begins anew.
func (b *backoff) reset() { b.last = 0 }

// wait waits, or returns why it does not: the context's end, with what was being waited out.
func (b *backoff) wait(ctx context.Context, cause error) error {
	b.last = min(max(2*b.last, 10*time.Millisecond), 2*time.Second)
	if err := clock.Sleep(ctx, b.clock, b.last); err != nil {
		return fmt.Errorf("%w (while waiting out: %w)", err, cause)
	}
	return nil
}
