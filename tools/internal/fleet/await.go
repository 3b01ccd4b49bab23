package fleet

import (
	"context"
	"fmt"
	"time"
)

// poll is how often Await looks.
const poll = 20 * time.Millisecond

// Await polls until ok, and says what was waited for if it never is.
func Await(ctx context.Context, what string, ok func() bool) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Pause waits for a time or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
