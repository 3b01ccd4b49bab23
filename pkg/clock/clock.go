// Package clock is time and waiting as a port. Whoever reads a clock, waits, bounds a call or works beside
// its caller does so through a Clock, so that the same code runs on the wall clock and, one coroutine at a
// time, in a simulated world (refrain.dev/pkg/simulate).
//
// What follows from it: code that is simulated starts no goroutine of its own, waits on no channel but
// through Wait, and holds no sync.Mutex while it waits or does I/O; Lock is for that.
package clock

import (
	"context"
	"time"
)

// Forever as the duration of a Wait sets no limit.
const Forever time.Duration = -1

// Clock is what the time is, and how to wait. Implementations are safe for concurrent use.
type Clock interface {
	// Now is the time of day. It may step, also backwards, and differs between machines.
	Now() time.Time
	// Elapsed is a monotonic reading of this process, from an arbitrary start: the difference of two is how
	// much time has passed here, whatever happened to the time of day.
	Elapsed() time.Duration
	// Wait returns when one of the wakes is signalled or closed (its index), when d has passed (-1), or
	// when ctx has ended (-1 and its error). A nil channel never wakes. d of Forever sets no limit; with
	// several at once it is not said which wins, but an ended ctx always does.
	Wait(ctx context.Context, d time.Duration, wakes ...<-chan struct{}) (int, error)
	// Within returns a context that ends after d, with context.DeadlineExceeded, or with ctx.
	Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// Left says how long it is until ctx's deadline on this clock; false if it has none.
	Left(ctx context.Context) (time.Duration, bool)
	// Go runs f beside the caller.
	Go(f func())
}

// Sleep waits for d; the error is ctx's if it ends first.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	_, err := c.Wait(ctx, max(d, 0))
	return err
}
