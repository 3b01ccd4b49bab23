package stage

import (
	"context"
	"fmt"
	"time"
)

// backoff waits longer each time, from 10 ms to 2 s. The zero value is ready.
type backoff struct{ last time.Duration }

// wait waits, or returns why it does not: the context's end, with what was being waited out.
func (b *backoff) wait(ctx context.Context, cause error) error {
	b.last = min(max(2*b.last, 10*time.Millisecond), 2*time.Second)
	t := time.NewTimer(b.last)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w (while waiting out: %w)", ctx.Err(), cause)
	}
}
