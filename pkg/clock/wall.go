package clock

import (
	"context"
	"time"
)

// Wall is the machine's clock.
type Wall struct{}

// started is where Elapsed counts from.
var started = time.Now() //nolint:gochecknoglobals // never written

// Now implements Clock.
func (Wall) Now() time.Time { return time.Now() }

// Elapsed implements Clock.
func (Wall) Elapsed() time.Duration { return time.Since(started) }

// maxWakes is how many channels a Wait looks at.
const maxWakes = 8

// Wait implements Clock.
func (Wall) Wait(ctx context.Context, d time.Duration, wakes ...<-chan struct{}) (int, error) {
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	var w [maxWakes]<-chan struct{}
	copy(w[:], wakes)
	var passed <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		passed = t.C
	}
	select {
	case <-ctx.Done():
		return -1, ctx.Err()
	case <-passed:
		return -1, nil
	case <-w[0]:
		return 0, nil
	case <-w[1]:
		return 1, nil
	case <-w[2]:
		return 2, nil
	case <-w[3]:
		return 3, nil
	case <-w[4]:
		return 4, nil
	case <-w[5]:
		return 5, nil
	case <-w[6]:
		return 6, nil
	case <-w[7]:
		return 7, nil
	}
}

// Within implements Clock.
func (Wall) Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// Left implements Clock.
func (Wall) Left(ctx context.Context) (time.Duration, bool) {
	deadline, ok := ctx.Deadline()
	return time.Until(deadline), ok
}

// Go implements Clock.
func (Wall) Go(f func()) { go f() }

var _ Clock = Wall{}
