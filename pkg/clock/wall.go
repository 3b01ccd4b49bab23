package clock

import (
	"context"
	"reflect"
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

// fewWakes is how many channels a Wait looks at without making anything.
const fewWakes = 8

// Wait implements Clock.
func (Wall) Wait(ctx context.Context, d time.Duration, wakes ...<-chan struct{}) (int, error) {
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	var passed <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		passed = t.C
	}
	if len(wakes) > fewWakes {
		return waitMany(ctx, passed, wakes)
	}
	var w [fewWakes]<-chan struct{}
	copy(w[:], wakes)
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

// waitMany is Wait for more channels than a select names.
func waitMany(ctx context.Context, passed <-chan time.Time, wakes []<-chan struct{}) (int, error) {
	cases := make([]reflect.SelectCase, 0, len(wakes)+2)
	for _, w := range wakes {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(w)})
	}
	cases = append(cases,
		reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())},
		reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(passed)})
	n, _, _ := reflect.Select(cases)
	switch {
	case n < len(wakes):
		return n, nil
	case n == len(wakes):
		return -1, ctx.Err()
	}
	return -1, nil
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
